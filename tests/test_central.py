import pytest

from fedpoison.central import train_centrally
from fedpoison.errors import ScenarioError


@pytest.fixture
def central(small):
    return small.but(train_samples=1440, test_samples=0, batch_size=32, rounds=3)


def test_it_learns_and_is_deterministic(central):
    one, two = train_centrally(central), train_centrally(central, workers=1)
    assert one.last.accuracy > 0.85
    assert [record.confusion for record in one.records] == [record.confusion for record in two.records]


@pytest.mark.parametrize("attack", ["label-flip(mode=random)", "inject(share=6)", "pixel-noise(std=2)"])
def test_poison_lowers_the_accuracy(central, attack):
    poisoned = train_centrally(central.but(attack=attack, malicious=0.95))
    assert poisoned.last.accuracy < train_centrally(central).last.accuracy - 0.05


def test_a_backdoor_opens_in_central_training_too(central):
    history = train_centrally(central.but(attack="backdoor", malicious=0.4))
    assert history.last.attack_success_rate > 0.8


def test_the_share_of_poisoned_samples_is_the_malicious_share(central):
    none = train_centrally(central.but(attack="label-flip", malicious=0.0))
    clean = train_centrally(central)
    assert none.last.accuracy == pytest.approx(clean.last.accuracy, abs=0.1)


def test_attacks_on_the_data_combine(central):
    both = train_centrally(central.but(attack="label-flip+pixel-noise", malicious=0.5))
    alone = train_centrally(central.but(attack="label-flip", malicious=0.5))
    assert both.last.confusion != alone.last.confusion


@pytest.mark.parametrize("attack", ["inject", "adaptive-trigger", "backdoor"])
def test_nothing_is_poisoned_where_no_sample_is(central, attack):
    clean, none = (train_centrally(central.but(attack=name, malicious=0.0)) for name in ("none", attack))
    assert [record.confusion for record in none.records] == [record.confusion for record in clean.records]


@pytest.mark.parametrize("attack", ["scaled-update", "alie", "label-flip+sign-flip"])
def test_attacks_on_updates_have_no_place_in_it(central, attack):
    with pytest.raises(ScenarioError, match="choose one on the data"):
        train_centrally(central.but(attack=attack))


def test_what_only_a_fleet_has_changes_nothing(central):
    federation = {"clients": 3, "proximal": 5.0, "epochs": 2, "tolerated": 1, "partition": "shards"}
    one, other = train_centrally(central), train_centrally(central.but(**federation))
    assert [record.confusion for record in one.records] == [record.confusion for record in other.records]
    assert one.scenario.run_id == other.scenario.run_id
