"""Random scenarios over all registries: each has a consistent result, or an error of ours."""

import re
import shlex
import sys
import time
import typing
import warnings
from collections import Counter
from random import Random

import pytest
import torch

from clients.bounds import Bounds, Count, OpenShare
from experiments.fuzz import __main__ as command
from experiments.fuzz.consistency import inconsistencies
from experiments.fuzz.outcomes import TimeLimitError, examine, time_limit
from experiments.fuzz.scenarios import draw
from experiments.fuzz.values import draw_value
from fedpoison.federation.federation import Federation
from fedpoison.results.round import Round, Training
from fedpoison.scenario.registries import attacks, optimizers, partitions, preaggregators, strategies
from fedpoison.scenario.scenario import Scenario
from fedpoison.scenario.schedules import schedules
from fedpoison.simulation.run import simulate

CHUNKS, CHUNK = 6, 40
SLOW = {"resnet18"}
"""Models that take ten seconds. `python -m experiments.fuzz` has them."""
LIMIT = 60
"""Longest time per scenario, in seconds. It finds endless loops, even on a busy machine."""
ENDLESS_LIMIT = 5
"""Longest time of a scenario that asks for millions of rounds or samples, in seconds."""


def scenarios(digits, indices):
    """Return the scenarios of seed 0 with these numbers, without models that take long."""
    drawn = [draw(0, index, digits) for index in indices]
    return [each for each in drawn if each.fields["model"] not in SLOW]


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_scenarios_have_a_consistent_result_or_an_error_of_ours(chunk, digits):
    chosen = scenarios(digits, range(chunk * CHUNK, (chunk + 1) * CHUNK))
    outcomes = [examine(each, digits, limit=ENDLESS_LIMIT if each.endless else LIMIT) for each in chosen]
    findings = [f"{outcome.drawn.repeat}: {text}" for outcome in outcomes for text in outcome.findings]
    assert findings == []
    kinds = Counter(outcome.kind for outcome in outcomes)
    assert kinds["complete"] > CHUNK / 2
    assert kinds["refused"] + kinds["stopped"] > 0


def test_the_scenarios_cover_the_registries(digits):
    commands = " ".join(each.command for each in scenarios(digits, range(CHUNKS * CHUNK)))
    words = set(re.findall(r"[a-z][\w-]*", commands))
    for registry in (strategies, preaggregators, optimizers, attacks, partitions, schedules):
        assert set(registry.entries()) <= words
    assert "flwr" in words
    fields = {name.replace("_", "-") for name in Scenario.model_fields} - {
        "groups",
        "dropout-seed",
        "initial",
    }
    assert fields | {"group"} <= {word.removeprefix("no-") for word in re.findall(r"--([\w-]+)", commands)}


def test_the_command_line_runs_the_same_scenario(digits, fedpoison, tmp_path):
    chosen = next(
        drawn
        for drawn in (draw(3, index, digits) for index in range(100))
        if "groups" in drawn.fields and examine(drawn, digits, limit=LIMIT).kind == "complete"
    )
    arguments = shlex.split(chosen.command)[1:]
    code, _, errors = fedpoison(*arguments, "--out", tmp_path)
    assert code == 0, errors
    assert (tmp_path / Scenario.parse(chosen.fields).run_id / "model.safetensors").is_file()


def test_the_numbers_of_rules_stay_within_float32():
    for spec, name in (("dnc", "fraction"), ("clipping", "threshold"), ("weak-dp", "noise"), ("sgd", "lr")):
        registry = next(each for each in (strategies, preaggregators, optimizers) if spec in each)
        with pytest.raises(ValueError, match=rf"{name}: got 1e\+39, expected at most 3.4e\+38"):
            registry[spec](**{name: 1e39})


def test_values_are_mostly_within_the_declared_bounds():
    source = Random(0)
    for hint, bounds in ((Count, Bounds(at_least=0)), (OpenShare, Bounds(above=0, below=1))):
        values = [draw_value(hint, 0.5, [], source) for _ in range(400)]
        assert 0.9 < sum(value in bounds for value in values) / 400 < 1
    assert {draw_value(typing.Literal["a", "b"] | None, None, [], source) for _ in range(50)} == {
        "a",
        "b",
        None,
    }


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"trust": {0: 0.5, 1: 1.5}}, "trust: got 1.5"),
        ({"trust": {0: 0.5}}, "trust: got clients"),
        ({"update_norms": {0: 1.0, 1: float("nan")}}, "norms: got nan"),
        ({"update_norms": {0: 1.0}}, "got 1 used and 0 dropped of 2 sampled clients"),
        ({"sampled": [0, 0]}, "sampled: got"),
        ({"malicious": [5]}, "that act"),
        ({"cosines": {0: 1.5}}, "cosines: got 1.5"),
        ({"dropped": {0: "lost"}}, "used and 1 dropped"),
    ],
    ids=repr,
)
def test_an_inconsistent_record_is_found(changes, fault, small):
    history = simulate(small.replace(clients=2, rounds=1, malicious=0.0, train_samples=20, test_samples=10))
    federation = Federation.load(history.scenario)
    assert list(inconsistencies(federation, history)) == []
    last = history.records[-1]
    training = Training(**vars(last.training) | changes)
    history.records[-1] = Round(**vars(last) | {"training": training})
    assert fault in " ".join(_found(federation, history))


def _found(federation, history):
    try:
        yield from inconsistencies(federation, history)
    except ValueError as error:  # NaN in JSON
        yield str(error)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda: warnings.warn("careful", stacklevel=1), "a warning: UserWarning: careful"),
        (lambda: sys.stdout.write("hello"), "printed text: 'hello'"),
        (lambda: torch.rand(1), "a draw from a global generator"),
        ([].pop, "IndexError: pop from empty list"),
    ],
)
def test_whatever_else_a_run_does_is_a_finding(fault, words, digits, monkeypatch):
    drawn = draw(0, 0, digits)
    monkeypatch.setattr("experiments.fuzz.outcomes.run_federation", lambda *_, **__: fault())
    assert any(words in text for text in examine(drawn, digits, limit=LIMIT).findings)


def test_a_scenario_that_does_not_end_is_a_finding(digits, monkeypatch):
    monkeypatch.setattr("experiments.fuzz.outcomes.run_federation", lambda *_, **__: time.sleep(30))
    (finding,) = examine(draw(0, 0, digits), digits, limit=0.05).findings
    assert finding.startswith("the time limit")
    with pytest.raises(TimeLimitError), time_limit(0.01):
        time.sleep(30)


def test_the_command_prints_findings_and_counts(monkeypatch, capsys):
    monkeypatch.setattr("resource.setrlimit", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["fuzz", "--count", "2", "--seed", "0"])
    assert command.main() == 0
    assert "0 with findings" in capsys.readouterr().out
    monkeypatch.setattr("experiments.fuzz.outcomes.run_federation", lambda *_, **__: [].pop())
    monkeypatch.setattr("sys.argv", ["fuzz", "--only", "0"])
    assert command.main() == 1
    printed = capsys.readouterr().out
    assert "python -m experiments.fuzz --seed 0 --only 0" in printed
    assert "FINDING IndexError" in printed
