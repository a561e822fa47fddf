"""What tests of threats share: groups of attackers, and records that do not tell who they were."""

import json

TWO = (
    "label-flip: count=1, schedule=window(start=2)",
    "gaussian-update(std=0.5): nodes=(1, 4), knowledge=colluding",
)


def but(scenario, **changes):
    """Return the scenario with groups in place of the share that the small one has."""
    return scenario.but(**{"malicious": 0.2, "attack": "none"} | changes)


def records(history):
    """Return the records as JSON, without their clocks and without who was malicious."""
    lines = [json.loads(record.to_json()) for record in history.records]
    for line in lines:
        for name in ("seconds", "groups", "malicious", "distances", "cosines"):
            del line["training"][name]
    return lines
