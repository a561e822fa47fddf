"""The choice of a rule's parameters: against a rule whose best value is known, and on the right samples."""

import json
import math
from dataclasses import fields, replace

import pytest

import fedpoison as fp
from fedpoison.data import load_dataset
from fedpoison.errors import RunError, ScenarioError
from fedpoison.simulation.run import simulate
from fedpoison.studies.tuning import _settings, tune
from strategies import OPTIMIZERS, PREAGGREGATORS, STRATEGIES

RULE = '''"""A rule whose step is too small below 1, and overshoots above it."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from strategies.base import Aggregate, Rule, RuleCard


@dataclass(frozen=True, kw_only=True)
class Scaled(Rule):
    factor: float = 0.05
    unused: int = 0

    card: ClassVar = RuleCard(paper="-", unanimous=False)
    search_space: ClassVar = {"factor": (1.0, 300.0)}

    def aggregate(self, updates, shares, context):
        middle = updates.median(dim=0).values
        trust = torch.full((len(updates),), 1 / len(updates), dtype=torch.float64)
        return Aggregate(update=self.factor * middle, trust=trust)
'''
DECLARED = {
    name: chosen
    for registry in (STRATEGIES, PREAGGREGATORS, OPTIMIZERS)
    for name, chosen in registry.items()
    if chosen.search_space
}


@pytest.mark.parametrize("name", DECLARED)
def test_a_declared_space_is_small_and_every_value_is_valid(name):
    chosen = DECLARED[name]
    assert chosen.search_space.keys() <= {parameter.name for parameter in fields(chosen)}
    assert 2 <= math.prod(map(len, chosen.search_space.values())) <= 20
    for parameter, values in chosen.search_space.items():
        assert len(set(values)) == len(values)
        for value in values:
            assert getattr(chosen(**{parameter: value}), parameter) == value


def test_rules_with_a_strength_declare_a_space():
    """The others have no parameter, only variants, or a number of clients, of which no fixed list fits."""
    assert {*STRATEGIES} - {*DECLARED} == WITHOUT


WITHOUT = {
    "aksel", "bulyan", "byzantine-sgd", "caf", "cge", "fedavg", "fltrust", "geometric-median", "krum",
    "lfighter", "mean-around-median", "mda", "median", "monna", "multi-krum", "phocas",
    "robust-learning-rate", "smea", "trimmed-mean",
}  # fmt: skip


@pytest.fixture
def rule(tmp_path):
    file = tmp_path / "scaled.py"
    file.write_text(RULE)
    return f"{file}:Scaled"


@pytest.fixture
def base(small, rule):
    return small.replace(rounds=1, clients=5, train_samples=200, validation_samples=150, strategy=rule)


OPTIONS = {"attacks": ["sign-flip", "ipm"], "confirm": 2, "jobs": 1}


def test_the_known_best_value_is_chosen_and_tested(base, rule, tmp_path):
    found = tune(base, out=tmp_path, **OPTIONS)
    assert found.strategy.endswith("Scaled(factor=1.0)")
    assert [each.strategy.rpartition("Scaled")[2] for each in found.candidates] == [
        "", "(factor=1.0)", "(factor=300.0)",
    ]  # fmt: skip
    # An oracle from single runs: the lowest mean on the validation set.
    for candidate in found.candidates:
        runs = {
            attack: simulate(base.replace(strategy=candidate.strategy, attack=attack)).last
            for attack in ("sign-flip", "ipm")
        }
        assert candidate.scores == {attack: run.validation.accuracy for attack, run in runs.items()}
        assert candidate.score == min(candidate.scores.values())
    # The reported numbers are those of the test set with seeds 1 and 2.
    again = {
        attack: [
            simulate(base.replace(strategy=found.strategy, attack=attack, seed=seed)).last.accuracy
            for seed in (1, 2)
        ]
        for attack in ("sign-flip", "ipm", "none")
    }
    worst = min(("sign-flip", "ipm"), key=lambda attack: sum(again[attack]))
    assert found.worst_case(found.strategy).under == worst
    assert found.worst_case(found.strategy).value.mean == pytest.approx(sum(again[worst]) / 2)
    assert found.clean(found.strategy).mean == pytest.approx(sum(again["none"]) / 2)
    given = [simulate(base.replace(attack="none", seed=seed)).last.accuracy for seed in (1, 2)]
    assert found.clean_gain.mean == pytest.approx((sum(again["none"]) - sum(given)) / 2)
    assert found.test.seeds == [1, 2]
    assert "best of 3 settings on 150 validation samples with seed 0" in found.headline


def test_the_choice_does_not_see_the_test_set(base, tmp_path, monkeypatch):
    found = tune(base, out=tmp_path / "true", **OPTIONS)
    digits = load_dataset("digits")
    turned = replace(digits, test=digits.test.with_labels((digits.test.labels + 1) % 10))
    for module in ("federation.federation", "simulation.batch"):
        monkeypatch.setattr(f"fedpoison.{module}.dataset_of", lambda *_, **__: turned)
    other = tune(base, out=tmp_path / "turned", **OPTIONS)
    assert other.candidates == found.candidates
    assert other.worst_case(other.strategy) != found.worst_case(found.strategy)


def test_a_finished_tuning_is_read_from_the_store(base, tmp_path):
    found = tune(base, out=tmp_path, **OPTIONS)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/model.safetensors")}
    assert len(written) == 3 * 2 + 2 * 3 * 2
    assert tune(base, out=tmp_path, **OPTIONS).candidates == found.candidates
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/model.safetensors")} == written


def settings(base, strategy, values=None, trials=100):
    return _settings(base.replace(strategy=strategy), values, trials, 0)


def test_a_parameter_that_is_set_keeps_its_value(small):
    tried, possible = settings(small, "centered-clipping(tau=3)")
    assert tried == ["centered-clipping(tau=3.0)", "centered-clipping(tau=3.0, iterations=3)"]
    assert possible == 2


def test_every_part_of_a_pipeline_has_its_own_values(small):
    tried, possible = settings(small, "clipping | norm-clipping(clip=1) | sgd(lr=1)")
    assert possible == 4 * 3
    assert tried[0] == "clipping | norm-clipping(clip=1.0) | sgd"
    assert "clipping(threshold=0.3) | norm-clipping(clip=1.0) | sgd(momentum=0.0)" in tried


def test_own_values_replace_the_declared_ones(small):
    tried, _ = settings(small, "nnm | krum", {"power": (1, 2)})
    assert tried == ["nnm | krum", "nnm | krum(power=1)"]
    tried, _ = settings(small, "bucketing | bucketing(size=3) | median | sgd", {"sgd.lr": (0.5,)})
    assert tried == [
        "bucketing | bucketing(size=3) | median | sgd",
        "bucketing | bucketing(size=3) | median | sgd(lr=0.5)",
    ]


def test_of_many_settings_a_repeatable_choice_is_tried(small):
    tried, possible = settings(small, "lasa", trials=5)
    assert (len(tried), possible, tried[0]) == (5, 18, "lasa")
    assert settings(small, "lasa", trials=5)[0] == tried
    assert set(tried) <= set(settings(small, "lasa")[0])


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"strategy": "median"}, {}, "median: has no parameter to choose: median has no search space"),
        ({"strategy": "slsgd(alpha=0.5)"}, {}, "has no parameter to choose: it sets alpha"),
        ({"strategy": "flwr:FedMedian"}, {}, "flwr:FedMedian: has no search space"),
        (
            {"strategy": "slsgd"},
            {"values": {"alfa": (1,)}},
            "unknown parameter of the strategy 'alfa': did you",
        ),
        ({"strategy": "slsgd"}, {"values": {"alpha": (2.0,)}}, "alpha: got 2.0"),
        (
            {"strategy": "clipping | clipping | median"},
            {"values": {"threshold": (2.0,)}},
            "several parts have threshold; write clipping.threshold or clipping.threshold",
        ),
        ({"strategy": "slsgd"}, {"attacks": ["none"]}, "attacks: got none, expected attacks"),
        ({"strategy": "slsgd"}, {"seeds": []}, "seeds: got 0, expected at least 1"),
        ({"strategy": "slsgd", "malicious": 0.0}, {}, "malicious: got no malicious client"),
        ({"strategy": "slsgd"}, {"measure": "acuracy"}, "unknown measure 'acuracy': did you mean 'accuracy'"),
        ({"strategy": "slsgd", "groups": ["alie: count=2"]}, {}, "groups: tuning varies a single attack"),
    ],
)
def test_what_cannot_be_tuned_is_refused_before_any_run(small, tmp_path, changes, options, words):
    with pytest.raises(ScenarioError, match=words):
        tune(small.replace(**changes), out=tmp_path, **{"attacks": ["ipm"], "jobs": 1, **options})
    assert not list(tmp_path.iterdir())


def test_a_setting_that_an_attack_stops_is_the_worst(small, tmp_path):
    stopping = small.replace(rounds=1, strategy="krum", tolerated=3, malicious=0.3)
    with pytest.raises(RunError, match="krum: an attack stopped every setting. .*needs n > 2f"):
        tune(stopping, attacks=["non-finite-update"], values={"power": (1,)}, confirm=1, out=tmp_path, jobs=1)


def test_objects_are_tuned_and_shown(small):
    found = fp.tune(
        fp.rules.NormClipping(),
        small.replace(rounds=1),
        attacks="sign-flip",
        values={"clip": (0.5,)},
        confirm=1,
        jobs=1,
    )
    assert [each.strategy for each in found.candidates] == ["norm-clipping", "norm-clipping(clip=0.5)"]
    assert found.to_frame()["score"].is_monotonic_decreasing
    assert found.headline in repr(found)
    assert found.validation_samples == 288
    assert len(found.plot().axes[0].patches) == 2
    assert all(history.path is None for history in found.test.histories.values())


def test_the_command_prints_tables_and_one_object(fedpoison, base, tmp_path):
    file = tmp_path / "scenario.toml"
    file.write_text(base.to_toml())
    arguments = [
        "tune",
        file,
        "--attacks",
        "ipm",
        "--values",
        "factor=1,300",
        "--confirm",
        "2",
        "--jobs",
        "1",
    ]
    code, out, err = fedpoison(*arguments, "--out", tmp_path / "runs", width=300)
    assert code == 0, err
    assert "Accuracy on the test set with seeds 1, 2, %" in out
    assert "3 settings under 1 attacks, on 150 validation samples with seed 0" in out
    assert "Scaled(factor=1.0)" in out.partition("chosen: --strategy")[2]
    code, out, _ = fedpoison(*arguments, "--out", tmp_path / "runs", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["strategy"].endswith("Scaled(factor=1.0)")
    assert (found["seeds"], found["test_seeds"], found["settings"]) == ([0], [1, 2], 3)
    assert found["test"]["chosen"]["under"] == "ipm"
    assert found["test"]["chosen"]["worst"]["mean"] > found["test"]["given"]["worst"]["mean"]
