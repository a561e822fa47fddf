"""What a run is held against: the clean run of the same nodes, and centralized training."""

import pytest
from threats import but

from fedpoison.errors import ScenarioError
from fedpoison.federation.federation import Federation
from fedpoison.results.store import StoredRun
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.centralized import train_centralized
from fedpoison.simulation.run import simulate, simulate_clean


def test_the_twin_asks_the_same_nodes_and_measures_the_same_goal(small, tmp_path):
    groups = [
        "backdoor+scaled-update: count=3, per_round=1, schedule=rotating(every=2), knowledge=own",
        "label-flip: count=1, schedule=once(round=2)",
    ]
    scenario = but(small, clients=12, participation=0.5, groups=groups)
    attacked = simulate(scenario, out=tmp_path)
    clean_run = simulate_clean(scenario, out=tmp_path)
    assert clean_run.scenario.goal == "backdoor"
    assert clean_run.scenario.threat == "none and none"
    assert clean_run.records[0].attack_success_rate == attacked.records[0].attack_success_rate
    for mine, theirs in zip(attacked.records[1:], clean_run.records[1:], strict=True):
        assert mine.training.sampled == theirs.training.sampled
        assert mine.training.malicious == theirs.training.malicious
        assert theirs.training.acting == []
        assert theirs.attack_success_rate is not None


def test_a_rotating_group_does_not_change_whom_the_twin_asks(small, digits):
    groups = ["alie: count=4, schedule=rotating", "ipm: count=6, per_round=2"]
    scenario = but(small, clients=20, participation=0.5, groups=groups)
    attacked, clean_run = Federation(scenario, digits), Federation(scenario.without_attack(None), digits)
    for number in range(1, 9):
        assert attacked.selection.sample(number) == clean_run.selection.sample(number)
        assert attacked.selection.members_by_group(number) == clean_run.selection.members_by_group(number)


def test_the_twin_is_read_where_the_store_has_it(small, tmp_path):
    scenario = small.replace(attack="label-flip")
    plain = simulate(small, out=tmp_path)
    written = (plain.path / "model.safetensors").stat().st_mtime_ns
    clean_run = simulate_clean(scenario, out=tmp_path)
    assert clean_run.path == plain.path  # an attack without a target has the plain clean run as its twin
    assert (plain.path / "model.safetensors").stat().st_mtime_ns == written


def test_the_twin_of_a_schedule_is_the_twin_of_all():
    scenario = Scenario(attack="alie", schedule="sleeper(until=5)", knowledge="own")
    assert scenario.without_attack(None) == Scenario()
    fixed = scenario.replace(participation=0.2, malicious_per_round=3, schedule="rotating")
    assert fixed.without_attack("backdoor").schedule == "rotating"


@pytest.fixture
def central(small):
    return small.replace(train_samples=1440, test_samples=0, batch_size=32, rounds=3)


def test_it_learns_and_is_deterministic(central):
    one, two = train_centralized(central), train_centralized(central, workers=1)
    assert one.last.accuracy > 0.85
    assert [record.confusion for record in one.records] == [record.confusion for record in two.records]


@pytest.mark.parametrize("attack", ["label-flip(mode=random)", "inject(share=6)", "pixel-noise(std=2)"])
def test_poison_lowers_the_accuracy(central, attack):
    poisoned = train_centralized(central.replace(attack=attack, malicious=0.95))
    assert poisoned.last.accuracy < train_centralized(central).last.accuracy - 0.05


def test_a_backdoor_opens_in_central_training_too(central):
    history = train_centralized(central.replace(attack="backdoor", malicious=0.4))
    assert history.last.attack_success_rate > 0.8


def test_the_share_of_poisoned_samples_is_the_malicious_share(central):
    none = train_centralized(central.replace(attack="label-flip", malicious=0.0))
    clean = train_centralized(central)
    assert none.last.accuracy == pytest.approx(clean.last.accuracy, abs=0.1)


def test_attacks_on_the_data_combine(central):
    both = train_centralized(central.replace(attack="label-flip+pixel-noise", malicious=0.5))
    alone = train_centralized(central.replace(attack="label-flip", malicious=0.5))
    assert both.last.confusion != alone.last.confusion


@pytest.mark.parametrize("attack", ["inject", "adaptive-trigger", "backdoor"])
def test_nothing_is_poisoned_where_no_sample_is(central, attack):
    clean, none = (
        train_centralized(central.replace(attack=name, malicious=0.0)) for name in ("none", attack)
    )
    assert [record.confusion for record in none.records] == [record.confusion for record in clean.records]


@pytest.mark.parametrize(
    ("changes", "idle"),
    [
        ({"attack": "label-flip(mode=targeted, share=0.001)"}, True),
        ({"attack": "inject", "malicious": 0.001}, True),
        ({"attack": "label-flip"}, False),
        ({}, False),
    ],
)
def test_an_attack_that_changes_no_sample_is_noted(central, tmp_path, changes, idle):
    scenario = central.replace(train_samples=100, rounds=2, malicious=0.2).replace(**changes)
    history = train_centralized(scenario, out=tmp_path)
    assert (f"the attack {scenario.attack} changed no training sample" in history.notes) == idle
    assert StoredRun(history.path).history.notes == history.notes


@pytest.mark.parametrize("attack", ["scaled-update", "alie", "label-flip+sign-flip"])
def test_attacks_on_updates_have_no_place_in_it(central, attack):
    with pytest.raises(ScenarioError, match="choose one on the data"):
        train_centralized(central.replace(attack=attack))


def test_what_only_a_fleet_has_changes_nothing(central):
    federation = {"clients": 3, "proximal": 5.0, "epochs": 2, "tolerated": 1, "partition": "shards"}
    one, other = train_centralized(central), train_centralized(central.replace(**federation))
    assert [record.confusion for record in one.records] == [record.confusion for record in other.records]
    assert one.scenario.run_id == other.scenario.run_id
