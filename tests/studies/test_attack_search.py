"""The search for the strongest attack."""

import re
from dataclasses import dataclass, fields, replace
from typing import ClassVar

import pytest

from clients import ATTACKS
from clients.attacks.base import Attack, AttackCard, Range, SearchSpace
from fedpoison import cli
from fedpoison.cli.search import _repeated
from fedpoison.data import load_dataset
from fedpoison.errors import RunError, ScenarioError
from fedpoison.federation.federation import Federation
from fedpoison.scenario.registries import attacks, build_attack
from fedpoison.scenario.specs import format_call
from fedpoison.simulation.run import simulate
from fedpoison.studies.attack_search import parse_objective, search
from fedpoison.studies.search_result import ConfirmationRun, SearchTrial
from fedpoison.studies.validation import with_validation

SPACES = {
    name: (space.objective, space.parameters)
    for name, attack in ATTACKS.items()
    if (space := attack.search_space) is not None
}


@pytest.mark.parametrize("name", SPACES)
def test_a_parameter_takes_both_ends_of_its_range(name):
    kind, parameters = SPACES[name]
    assert parameters.keys() <= {parameter.name for parameter in fields(ATTACKS[name])}
    ends = [
        (values.low, values.high) if isinstance(values, Range) else values for values in parameters.values()
    ]
    for position in range(max((len(end) for end in ends), default=1)):
        values = {each: end[position % len(end)] for each, end in zip(parameters, ends, strict=True)}
        attack = build_attack(format_call(name, values))
        assert attack.no_effect(20, 4) is None
        assert (attack.goal(10) is not None) == (kind == "backdoor")


def test_a_search_tries_the_attacks_of_its_objective():
    accuracy, worst, third, backdoor = (
        parse_objective(name).space for name in ("accuracy", "class", "class:3", "backdoor")
    )
    assert accuracy == worst == third
    assert len(accuracy) == 30
    assert len(backdoor) == 18
    assert {**accuracy, **backdoor} == {name: parameters for name, (_, parameters) in SPACES.items()}
    assert {*ATTACKS} - {*SPACES} == {
        "none",
        "free-rider",
        "zero-update",
        "clean-label",
        "edge-case",
        "semantic-backdoor",
        "token-backdoor",
    }


def test_a_search_finds_the_attacks_of_other_packages(monkeypatch):
    @dataclass(frozen=True, kw_only=True)
    class Ours(Attack):
        card: ClassVar = AttackCard(paper="-")
        search_space: ClassVar = SearchSpace(parameters={"much": (1, 2)})
        much: int = 1

    monkeypatch.setattr(attacks, "entries", lambda: {**ATTACKS, "ours": Ours})
    assert parse_objective("accuracy").space["ours"] == {"much": (1, 2)}


def test_the_strongest_comes_first_and_is_as_strong_as_it_says(small, tmp_path):
    names = ["ipm", "scaled-update", "pixel-noise"]
    found = search(small, parse_objective("accuracy"), attacks=names, trials=6, out=tmp_path, jobs=1).trials
    strengths = [trial.strength for trial in found]
    assert strengths == sorted(strengths, reverse=True)
    assert {trial.attack.partition("(")[0] for trial in found} == set(names)
    assert found[0].attack.startswith(("scaled-update", "ipm"))
    again = simulate(small.replace(attack=found[0].attack, validation_samples=288))
    assert 1 - again.last.validation.accuracy == pytest.approx(strengths[0])


def test_a_search_is_repeated_exactly_and_reads_the_store(small, tmp_path):
    options = {"attacks": ["alie", "ipm"], "trials": 5, "out": tmp_path, "jobs": 1}
    found = search(small, parse_objective("class"), **options)
    made = sorted(path.stat().st_mtime_ns for path in tmp_path.glob("*/model.safetensors"))
    assert search(small, parse_objective("class"), **options) == found
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.glob("*/model.safetensors")) == made


def test_an_attack_that_is_named_twice_counts_once(small, tmp_path):
    options = {"trials": 3, "confirm": 0, "out": tmp_path, "jobs": 1}
    named = [["ipm", "mimic"], ["ipm", "ipm", "mimic", "ipm"]]
    once, twice = (search(small, parse_objective("class"), attacks=names, **options) for names in named)
    assert twice.trials == once.trials


def test_objectives_read_what_they_say(small):
    last = simulate(small.replace(attack="backdoor")).last
    assert parse_objective("accuracy").strength(last) == pytest.approx(1 - last.accuracy)
    assert parse_objective("class").strength(last) == pytest.approx(1 - min(last.per_class_accuracy))
    assert parse_objective("class:3").strength(last) == pytest.approx(1 - last.per_class_accuracy[3])
    assert parse_objective("backdoor").strength(last) == last.attack_success_rate


def test_what_cannot_be_searched_is_refused(small, tmp_path):
    with pytest.raises(ScenarioError, match="unknown objective 'acuracy': did you mean 'accuracy'"):
        parse_objective("acuracy")
    with pytest.raises(ScenarioError, match="unknown attack of this objective 'alie'"):
        search(small, parse_objective("backdoor"), attacks=["alie"], out=tmp_path)
    with pytest.raises(ScenarioError, match="a search varies a single attack"):
        search(small.replace(malicious=0.2, groups=["alie: count=2"]), parse_objective("class"), out=tmp_path)


def test_if_every_run_stops_so_does_the_search(small, tmp_path):
    objective = type(parse_objective("class"))(lambda record: record.accuracy, {"non-finite-update": {}})
    stopping = small.replace(strategy="krum", tolerated=3, malicious=0.3)
    with pytest.raises(RunError, match="all runs stopped: .*needs n > 2f"):
        search(stopping, objective, trials=2, out=tmp_path, jobs=1)


def test_nothing_is_stronger_than_what_stops_the_server(small, tmp_path):
    objective = replace(parse_objective("accuracy"), space={"sign-flip": {}, "non-finite-update": {}})
    base = small.replace(strategy="krum", tolerated=3, malicious=0.3)
    found = search(base, objective, trials=2, confirm=2, out=tmp_path, jobs=1)
    assert found.trials[0] == SearchTrial("non-finite-update", 1.0, stopped=True)
    assert not found.trials[1].stopped
    validated = base.replace(attack="none", validation_samples=288)
    for seed, repeat in enumerate(found.repeats, start=1):
        clean = 1 - simulate(validated.replace(seed=seed)).last.accuracy
        assert repeat == ConfirmationRun(seed, 1.0, stopped=True, clean=pytest.approx(clean))
    assert len(found.repeats) == 2
    assert found.clean == pytest.approx(1 - simulate(validated).last.validation.accuracy)


def test_the_strongest_runs_again_with_seeds_that_had_no_part(small, tmp_path):
    base = small.replace(seed=7, validation_samples=90)
    options = {"attacks": ["ipm", "sign-flip"], "trials": 2, "out": tmp_path, "jobs": 1}
    found = search(base, parse_objective("class"), confirm=2, **options)
    attacked = base.replace(attack=found.trials[0].attack)
    worst = [1 - simulate(attacked.replace(seed=seed)).last.worst_class_accuracy for seed in (8, 9)]
    assert [repeat.strength for repeat in found.repeats] == pytest.approx(worst)
    assert [repeat.seed for repeat in found.repeats] == [8, 9]
    assert (found.validation_samples, found.seed, found.tries) == (90, 7, 2)
    assert "in 2 trials, on 90 validation samples with seed 7" in found.headline
    assert re.search(r"on the test set with 2 other seeds$", found.headline)
    assert search(base, parse_objective("class"), confirm=0, **options).repeats == []


def test_the_choice_does_not_see_the_test_set(small, tmp_path, monkeypatch):
    """With other labels of the test set, the search tries and chooses the same attacks."""
    options = {"attacks": ["ipm", "sign-flip", "alie"], "trials": 6, "confirm": 1, "jobs": 1}
    found = search(small, parse_objective("accuracy"), out=tmp_path / "true", **options)
    digits = load_dataset("digits")
    turned = replace(digits, test=digits.test.with_labels((digits.test.labels + 1) % 10))
    for module in ("federation.federation", "simulation.batch"):
        monkeypatch.setattr(f"fedpoison.{module}.dataset_of", lambda *_, **__: turned)
    other = search(small, parse_objective("accuracy"), out=tmp_path / "turned", **options)
    assert (other.trials, other.clean) == (found.trials, found.clean)
    assert other.repeats != found.repeats


def test_a_search_takes_a_fifth_of_the_training_samples_unless_it_is_told(small, digits):
    def reserved(**changes):
        notices = []
        scenario = with_validation(Federation(small.replace(**changes), digits), notices.append)
        return scenario.train_samples, scenario.validation_samples, len(notices)

    assert reserved() == (400, 288, 0)
    assert reserved(train_samples=0) == (0, 288, 0)
    assert reserved(train_samples=1154) == (1154, 288, 0)
    assert reserved(train_samples=1155) == (0, 288, 1)
    assert reserved(validation_samples=7) == (400, 7, 0)


def test_the_command_names_the_strongest(small, tmp_path, monkeypatch, capsys):
    file = tmp_path / "scenario.toml"
    file.write_text(small.to_toml())
    arguments = ["search", file, "--objective", "backdoor", "--attacks", "backdoor,blended", "--trials", "2"]
    monkeypatch.setattr(
        "sys.argv", ["fedpoison", *map(str, arguments), "--jobs", "1", "--out", str(tmp_path)]
    )
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    out = capsys.readouterr().out
    assert "Strongest against fedavg on the validation set, by backdoor" in out
    assert "2 trials of 2 different attacks, on 288 validation samples with seed 0" in out
    assert re.search(
        r"on the test set, repeated with seeds 1, 2, 3: \d.* % \(95 % bootstrap intervals; with 3 seeds", out
    )
    assert 'strongest: --attack "b' in out


@pytest.mark.parametrize(
    ("repeats", "words"),
    [
        (
            [(0.3, 0.2), (0.4, 0.3)],
            "seeds 1, 2: accuracy lost 10.0 [10.0, 10.0] points, compared with clean runs",
        ),
        ([(0.3, None)], "with seed 1: 30.0 %"),
        (
            [(1.0, 0.2), (0.4, 0.3), (None, 0.2)],
            "the server had to stop with seed 1; the run failed with seed 3",
        ),
    ],
)
def test_the_repeats_are_compared_with_clean_runs(repeats, words):
    made = [
        ConfirmationRun(seed, strength, stopped=strength == 1.0, clean=clean)
        for seed, (strength, clean) in enumerate(repeats, start=1)
    ]
    assert words in _repeated(made)


def test_an_attack_that_cannot_run_is_told_and_stops_no_other(small, tmp_path):
    told = []
    base = small.replace(strategy="flwr:FedMedian", malicious=0.3)
    options = {"attacks": ["tailored", "sign-flip"], "trials": 2, "confirm": 1, "out": tmp_path, "jobs": 1}
    found = search(base, parse_objective("accuracy"), notify=told.append, **options)
    assert [trial.attack for trial in found.trials] == ["sign-flip", "tailored"]
    assert found.trials[1].strength is None
    assert [line for line in told if line.startswith("tailored, seed 0: attack tailored: needs the server's")]


@pytest.mark.parametrize(
    ("changes", "objective", "words"),
    [
        ({"malicious": 0.0}, "accuracy", "malicious: got no malicious client"),
        ({}, "class:12", "objective class:12: digits has no such validation image, of 10 classes"),
        ({"test_samples": 4}, "class:3", "objective class:3: digits has no such test image.* 4 images"),
        (
            {"validation_samples": 4},
            "class:3",
            "objective class:3: digits has no such validation image.* 4 images",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_before_any_run(small, tmp_path, changes, objective, words):
    with pytest.raises(ScenarioError, match=words):
        search(small.replace(**changes), parse_objective(objective), trials=1, out=tmp_path, jobs=1)
    assert not list(tmp_path.iterdir())


def test_only_new_attacks_are_announced(small, tmp_path):
    announced = []
    found = search(
        small,
        parse_objective("accuracy"),
        attacks=["mimic"],
        trials=5,
        out=tmp_path,
        jobs=1,
        on_planned=announced.append,
    )
    assert [trial.attack for trial in found.trials] == ["mimic"]
    assert announced == [
        1,
        1,
        0,
        3,
        3,
    ]  # without an attack, each attack once, the strongest again, and without it
