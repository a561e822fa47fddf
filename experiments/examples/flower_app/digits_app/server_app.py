"""The app's server: federated averaging, with a defence around it and an attack around both."""

from __future__ import annotations

import json
from pathlib import Path

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg, Strategy

from fedpoison.flower import AttackedStrategy, RobustStrategy

from .task import accuracy, build_model

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run all rounds, and write the accuracy after each."""
    config = context.run_config
    clients, seed = int(config["clients"]), int(config["seed"])
    model = build_model()

    strategy: Strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=clients, min_available_nodes=clients)
    if config["rule"]:
        strategy = robust = RobustStrategy(strategy, str(config["rule"]), seed=seed)
    if config["attack"]:
        strategy = AttackedStrategy(
            strategy, str(config["attack"]), malicious=float(config["malicious"]), seed=seed
        )

    def evaluate(_round: int, arrays: ArrayRecord) -> MetricRecord:
        model.load_state_dict(arrays.to_torch_state_dict())
        return MetricRecord({"accuracy": accuracy(model)})

    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(model.state_dict()),
        num_rounds=int(config["rounds"]),
        evaluate_fn=evaluate,
    )
    if config["out"]:
        found = {number: metrics["accuracy"] for number, metrics in result.evaluate_metrics_serverapp.items()}
        report: dict[str, object] = {"accuracy": found}
        if config["rule"]:
            report["rounds"] = robust.rounds.to_dict("records")
        Path(str(config["out"])).write_text(json.dumps(report), encoding="utf-8")
