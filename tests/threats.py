"""What tests of threats share: groups of attackers, and records that do not tell who they were."""

import json

from fedpoison.scenario.attackers import AttackerGroup
from fedpoison.scenario.parsed_spec import Spec

TWO = (
    "label-flip: count=1, schedule=window(start=2)",
    "gaussian-update(std=0.5): nodes=(1, 4), knowledge=colluding",
)


def but(scenario, **changes):
    """Return the scenario with groups in place of the share that the small one has."""
    return scenario.replace(**{"malicious": 0.2, "attack": "none"} | changes)


def attacked_by(scenario, *attacks):
    """Return the scenario with these objects in place of its groups' attacks."""
    specs = [Spec(f"test-{place}", "attack", attack) for place, attack in enumerate(attacks)]
    if not scenario.groups:
        return scenario.replace(attack=specs[0])
    pairs = zip(scenario.groups, specs, strict=True)
    return scenario.replace(groups=[AttackerGroup(**dict(group) | {"attack": spec}) for group, spec in pairs])


def records(history):
    """Return the records as JSON, without their clocks and without who was malicious."""
    lines = [json.loads(record.to_json()) for record in history.records]
    for line in lines:
        for name in ("seconds", "groups", "malicious", "distances", "cosines"):
            del line["training"][name]
    return lines
