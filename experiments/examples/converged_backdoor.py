"""A backdoor in a converged model: train without attack, then attack for a few rounds, and defend.

`python -m experiments.examples.converged_backdoor` stores the clean run in the folder `runs`, and starts
each attacked run from its model.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

import fedpoison as fp

FEDERATION = fp.Scenario(dataset="digits", model="mlp-small", clients=10, malicious=0.1, batch_size=8)
ATTACKED = 3
"""Rounds in which the malicious client attacks."""
STRATEGIES = ("fedavg", "norm-clipping(clip=0.5)", "median")


def train(out: Path, *, rounds: int = 30) -> str:
    """Train without attack, and return the folder of the run."""
    return str(fp.simulate(FEDERATION, attack="none", rounds=rounds, out=out).path)


def attack(trained: str, *, rounds: int = 8) -> pd.DataFrame:
    """Start from the trained model, and return the success of the backdoor and the accuracy by round."""
    scenario = FEDERATION.replace(
        initial=trained, attack="model-replacement", schedule=f"window(stop={ATTACKED})", rounds=rounds
    )
    columns = {}
    for strategy in STRATEGIES:
        frame = fp.simulate(scenario, strategy=strategy).to_frame()
        columns[strategy, "success"] = frame["attack_success_rate"]
        columns[strategy, "accuracy"] = frame["accuracy"]
    return pd.DataFrame(columns)


def main() -> None:
    """Train, attack, and print the success and the accuracy by round."""
    print(attack(train(Path("runs"))).round(3).to_string())


if __name__ == "__main__":
    main()
