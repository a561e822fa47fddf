"""ByzFL's federated framework at rounds of one step: its clients, its server, its attack."""

from __future__ import annotations

from typing import Any

import torch
from byzfl import ByzantineClient, Client, DataDistributor, Server
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from experiments.benchmarks.clock import Clock
from experiments.benchmarks.work import Work
from fedpoison.data import data_folders

SGD: dict[str, Any] = {
    "learning_rate": 0.01,
    "weight_decay": 0.0,
    "milestones": [],
    "learning_rate_decay": 1.0,
}


def train(work: Work, blocks: int, clock: Clock) -> dict[str, Any]:
    """Run the work and return the times of the clock. Byzantine clients of ByzFL do not train."""
    clients, server, attacker = _framework(work)
    _hand_out(server, clients)
    clock.tick()
    for step in range(blocks * work.block):
        for client in clients:
            client.compute_gradients()
        honest = [client.get_flat_gradients_with_momentum() for client in clients]
        server.update_model_with_gradients(honest + attacker.apply_attack(honest))
        _hand_out(server, clients)
        if (step + 1) % work.block == 0:
            clock.tick()
    return clock.result(work.block)


def _framework(work: Work) -> tuple[list[Client], Server, ByzantineClient]:
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    folder = next(folder for folder in data_folders() if (folder / "MNIST").is_dir())
    dataset = datasets.MNIST(folder, train=True, transform=transform)
    dataset.targets = torch.as_tensor(dataset.targets).long()
    shares = DataDistributor(
        {
            "data_distribution_name": "iid",
            "nb_honest": work.clients,
            "data_loader": DataLoader(dataset, batch_size=work.batch_size),
            "batch_size": work.batch_size,
        }
    ).split_data()
    clients = [
        Client(
            {
                "model_name": "cnn_mnist",
                "device": "cpu",
                "loss_name": "NLLLoss",
                "LabelFlipping": False,
                "nb_labels": 10,
                "momentum": 0.9,
                "training_dataloader": share,
                "store_per_client_metrics": False,
            }
        )
        for share in shares
    ]
    server = Server(
        {
            "model_name": "cnn_mnist",
            "device": "cpu",
            "optimizer_name": "SGD",
            "test_loader": DataLoader(dataset, batch_size=100),
            "aggregator_info": {"name": "TrMean", "parameters": {"f": work.malicious}},
            "pre_agg_list": [],
            **SGD,
        }
    )
    attacker = ByzantineClient({"name": "SignFlipping", "f": work.malicious, "parameters": {}})
    return clients, server, attacker


def _hand_out(server: Server, clients: list[Client]) -> None:
    for client in clients:
        client.set_model_state(server.get_dict_parameters())
