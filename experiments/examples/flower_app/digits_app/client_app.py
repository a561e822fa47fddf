"""The app's clients: their own training loop, and an attack in the mod or in the data of some of them."""

from __future__ import annotations

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable

from fedpoison.flower import poison_dataset, update_mod

from .task import build_model, load_partition, train


def attack_update(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Attack the update, if the run names an attack and this client is malicious."""
    config = context.run_config
    if not config["mod"]:
        return call_next(message, context)
    mod = update_mod(str(config["mod"]), malicious=float(config["malicious"]), seed=int(config["seed"]))
    return mod(message, context, call_next)


app = ClientApp(mods=[attack_update])


@app.train()
def train_client(message: Message, context: Context) -> Message:
    """Train the global model on the data of this client."""
    config = context.run_config
    partition, partitions = (int(context.node_config[key]) for key in ("partition-id", "num-partitions"))
    data = load_partition(partition, partitions)
    if config["poison"]:
        data = poison_dataset(
            data, str(config["poison"]), context=context, malicious=float(config["malicious"]),
            seed=int(config["seed"]), classes=10,
        )  # fmt: skip
    model = build_model()
    model.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
    server_round = int(str(message.content.config_records["config"]["server-round"]))
    train(model, data, float(config["lr"]), seed=1000 * server_round + partition)
    metrics = {"num-examples": len(data), "partition-id": partition, "num-partitions": partitions}
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord({**metrics})})
    return Message(content, reply_to=message)
