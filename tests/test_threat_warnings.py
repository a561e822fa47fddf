"""An attack that does nothing is told of before the first round."""

import json

import pytest

from fedpoison.fleet import Federation
from fedpoison.simulation import simulate


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attack": "alie"}, "alie does nothing: z = 0 for 2 of 10 clients"),
        ({"attack": "backdoor(share=0)"}, "share is 0"),
        ({"attack": "ipm", "malicious": 0.04}, "none of the 10 nodes is malicious"),
        ({"attack": "ipm", "schedule": "sleeper(until=4)"}, "sleeper(until=4) has no round among the 3"),
        ({"groups": ["label-flip: count=1", "alie: count=2"]}, "alie does nothing: z = 0"),
    ],
)
def test_an_idle_attack_is_told_before_the_first_round(small, tmp_path, changes, words):
    told = []
    history = simulate(
        small.but(**changes, rounds=3, test_samples=50),
        out=tmp_path,
        notify=told.append,
        on_round=lambda record: told.append(record.round),
    )
    assert words in told[0]
    assert told[1:] == [0, 1, 2, 3]
    environment = json.loads((history.path / "environment.json").read_text())
    assert environment["warnings"] == told[:1]


@pytest.mark.parametrize("attack", ["none", "label-flip", "alie(z=1)", "backdoor+alie"])
def test_nothing_is_told_of_an_attack_that_acts(small, digits, attack):
    assert Federation(small.but(attack=attack), digits).idle == []


def test_without_a_listener_the_warning_is_logged(small, caplog):
    simulate(small.but(attack="alie", rounds=1))
    assert "z = 0 for 2 of 10 clients" in caplog.text
