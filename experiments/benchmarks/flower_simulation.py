"""Flower's simulation runtime with a ClientApp like its tutorials', and with a lean ClientApp.

The first builds a model and a DataLoader over the transformed data set in every round and trains with
`torch.optim`, as Flower's PyTorch tutorial does. The second keeps the data in memory, normalised, and trains
with our `Trainer`. Both take plain FedAvg, or FedTrimmedAvg where the work has malicious clients; those train
honestly here, as Flower has no attackers.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import time
import warnings
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # read when Flower is imported
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg, FedTrimmedAvg
from flwr.simulation import run_simulation
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from clients.training.parameters import split
from clients.training.trainer import Trainer
from experiments.benchmarks.clock import Clock, UnavailableError
from experiments.benchmarks.work import Work
from fedpoison.data import data_folders
from fedpoison.federation.federation import Federation
from fedpoison.models import MODELS
from fedpoison.rng import generator_for

WORK = "work"
"""Key of the work in a message."""

idiomatic_app = ClientApp()
lean_app = ClientApp()


def simulate(work: Work, blocks: int, clock: Clock, *, lean: bool) -> dict[str, Any]:
    """Run the work and return the times of the clock."""
    if work.dataset != "mnist":
        raise UnavailableError("Flower's clients are written for MNIST")
    warnings.simplefilter("ignore", DeprecationWarning)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    ended: list[float] = []
    heard: list[int] = []
    server = ServerApp()

    @server.main()
    def main(grid: Grid, _context: Context) -> None:
        while len(list(grid.get_node_ids())) < work.everyone:  # Flower starts before its nodes do
            time.sleep(0.01)
        _strategy(work, heard).start(
            grid=grid,
            initial_arrays=ArrayRecord(_model(work).state_dict()),
            num_rounds=blocks * work.block,
            train_config=ConfigRecord({WORK: json.dumps(work.fields())}),
            evaluate_fn=tick,
        )

    def tick(server_round: int, _arrays: ArrayRecord) -> None:
        if len(heard) != server_round:
            raise UnavailableError("none of Flower's clients replied")
        if server_round % work.block == 0:
            clock.tick()
            ended.append(server_round)

    run_simulation(
        server_app=server,
        client_app=lean_app if lean else idiomatic_app,
        num_supernodes=work.everyone,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
    if ended != list(range(0, blocks * work.block + 1, work.block)):
        raise UnavailableError("Flower's simulation did not come to its end")
    return clock.result(work.block)


def _strategy(work: Work, heard: list[int]) -> FedAvg:
    everyone: dict[str, Any] = {
        "fraction_train": 1.0,
        "fraction_evaluate": 0.0,
        "min_train_nodes": work.everyone,
        "min_available_nodes": work.everyone,
        "train_metrics_aggr_fn": functools.partial(_counted, work.everyone, heard),
    }
    return (
        FedTrimmedAvg(beta=work.malicious / work.everyone, **everyone)
        if work.malicious
        else FedAvg(**everyone)
    )


def _counted(wanted: int, heard: list[int], replies: Sequence[RecordDict], _by: str) -> MetricRecord:
    """Return no metrics, but raise if clients failed: Flower would continue without them.

    It is not called where none replied, so `heard` keeps how many did in each round.
    """
    heard.append(len(replies))
    if len(replies) != wanted:
        raise UnavailableError(f"got {len(replies)} replies from Flower's clients, expected {wanted}")
    return MetricRecord()


@idiomatic_app.train()
def train_idiomatically(message: Message, context: Context) -> Message:
    """Train like a tutorial."""
    work = Work.from_fields(json.loads(str(message.content.config_records["config"][WORK])))
    model = _model(work)
    model.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
    client_id = int(context.node_config["partition-id"])
    share = range(client_id * work.samples, (client_id + 1) * work.samples)
    loader = DataLoader(Subset(_transformed(), share), batch_size=work.batch_size, shuffle=True)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()
    total, steps = 0.0, 0
    for images, labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
        steps += 1
        if steps == work.steps:
            break
    metrics = MetricRecord({"train_loss": total / steps, "num-examples": work.samples})
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
    return Message(content=content, reply_to=message)


@lean_app.train()
def train_leanly(message: Message, context: Context) -> Message:
    """Train with a model and data that stay in memory."""
    work = str(message.content.config_records["config"][WORK])
    federation, trainer = _resident(work)
    arrays = message.content.array_records["arrays"]
    trainer.load(torch.cat([torch.from_numpy(array.numpy()).reshape(-1) for array in arrays.values()]))
    client_id = int(context.node_config["partition-id"])
    loss = trainer.fit(
        federation.train, generator_for(0, "client", client_id), part=federation.parts[client_id]
    )
    trained = split(trainer.weights(), federation.layout)
    record = ArrayRecord({name: value for (name, _), value in zip(federation.layout, trained, strict=True)})
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(federation.parts[client_id])})
    return Message(content=RecordDict({"arrays": record, "metrics": metrics}), reply_to=message)


def _model(work: Work) -> nn.Module:
    return MODELS[work.model]((1, 28, 28), 10)


@functools.cache
def _transformed() -> datasets.MNIST:
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    folder = next(folder for folder in data_folders() if (folder / "MNIST").is_dir())
    return datasets.MNIST(folder, train=True, transform=transform)


@functools.cache
def _resident(work: str) -> tuple[Federation, Trainer]:
    torch.set_num_threads(1)
    federation = Federation.load(Work.from_fields(json.loads(work)).scenario(1))
    return federation, Trainer(federation.model(), federation.scenario.training)
