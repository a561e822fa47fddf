"""What is read off the records of a run."""

import numpy as np
import pytest

from fedpoison.errors import ScenarioError
from fedpoison.results.history import History
from fedpoison.results.round import GroupRecord, Round, Training
from fedpoison.scenario.scenario import Scenario

RIGHT = [0.1, 0.8, 0.2, 0.5, 0.7]


def confusion(share):
    """Return two classes of 100, of which `share` of the first and 0.9 of the second are predicted right."""
    first = round(100 * share)
    return [[first, 100 - first], [10, 90]]


def record(number, share, *, acted=False, **changes):
    training = Training(
        sampled=[0, 1, 2, 3],
        malicious=[2, 3],
        groups=[
            GroupRecord(attack="ipm", nodes=[3], acted=acted),
            GroupRecord(attack="alie", nodes=[2], acted=False),
        ],
        dropped={1: "failed: it rained"},
        trust={0: 0.5, 2: 0.4, 3: 0.1},
        update_norms={0: 1.0, 2: 2.0, 3: 9.0},
        distances={0: 0.5, 2: 0.7, 3: 8.0},
        cosines={0: 0.9, 3: -0.8},
    )
    return Round(
        round=number, confusion=confusion(share), loss=1.0, training=training if number else Training()
    )


@pytest.fixture
def attacked():
    """Return a run in which node 3 attacks in the second round."""
    scenario = Scenario(dataset="digits", rounds=4, clients=4, malicious_nodes=(2, 3))
    return History(scenario, [record(i, share, acted=i == 2) for i, share in enumerate(RIGHT)])


def twin_with(scenario, shares):
    return History(scenario, [record(number, share) for number, share in enumerate(shares)])


def test_the_rounds_say_whom_the_rule_believed(attacked):
    rounds = attacked.to_frame()
    assert rounds["acting"].tolist() == [0, 0, 1, 0, 0]
    attack = rounds.loc[2]
    assert attack["trust_auroc"] == 1
    assert attack["malicious_mass"] == 0.1
    assert (attack["true_positive_rate"], attack["false_positive_rate"]) == (1, 0)
    assert (attack["malicious_norm"], attack["malicious_distance"], attack["malicious_cosine"]) == (
        9,
        8,
        -0.8,
    )
    assert (attack["honest_norm"], attack["honest_distance"]) == (1.5, pytest.approx(0.6))
    quiet = rounds.loc[3]
    assert np.isnan([quiet["trust_auroc"], quiet["true_positive_rate"], quiet["malicious_norm"]]).all()
    assert quiet["malicious_mass"] == 0
    assert rounds.loc[0, ["trust_auroc", "malicious_mass"]].isna().all()


def test_missing_numbers_are_nan_in_numeric_columns(attacked):
    quiet = Round(round=1, confusion=confusion(0.5), loss=None, training=Training(sampled=[0, 1]))
    history = History(attacked.scenario, [quiet])
    for frame, texts in ((history.to_frame(), []), (history.per_client(), ["dropped"])):
        numbers = frame.drop(columns=texts)
        assert all(kind.kind in "iufb" for kind in numbers.dtypes)
    assert np.isnan(history.to_frame().loc[1, ["loss", "attack_success_rate", "trust_auroc"]]).all()
    assert history.per_client()["trust"].isna().all()
    assert history.summary()["trust_auroc"] is None


def test_the_nodes_say_what_each_was_sent_and_got(attacked):
    frame = attacked.per_client().set_index(["round", "node"])
    assert frame["dropped"].notna().sum() == 4
    assert len(frame) == 4 * 4
    assert frame.drop(columns="dropped").loc[(2, 3)].to_dict() == {
        "malicious": True, "group": 0, "acted": True, "norm": 9, "distance": 8, "cosine": -0.8,
        "trust": 0.1,
    }  # fmt: skip
    assert frame.loc[(2, 2), ["malicious", "group", "acted"]].tolist() == [True, 1, False]
    assert frame.loc[(2, 1), "dropped"] == "failed: it rained"
    assert np.isnan(frame.loc[(2, 0), "group"])
    assert not frame.loc[3, "acted"].any()


def test_a_run_without_rounds_has_no_nodes(attacked):
    empty = History(attacked.scenario, attacked.records[:1]).per_client()
    assert len(empty) == 0
    assert "distance" in empty.columns


def test_damage_is_what_the_twin_gets_right_beyond(attacked):
    damage = attacked.damage(twin_with(attacked.scenario, [0.1, 0.8, 0.9, 0.9, 0.9]))
    np.testing.assert_allclose(damage[0], [0, 0, 0.7, 0.4, 0.2])
    np.testing.assert_allclose(damage[1], 0)
    np.testing.assert_allclose(damage["all"], damage[0] / 2)
    assert damage.index.name == "round"


@pytest.mark.parametrize("change", [{"seed": 1}, {"rounds": 5}, {"dataset": "mnist"}])
def test_a_twin_of_another_run_is_refused(attacked, change):
    stranger = twin_with(attacked.scenario.replace(**change), RIGHT)
    for measure in (attacked.damage, attacked.recovery_half_life):
        with pytest.raises(ScenarioError, match=f"clean run: got {next(iter(change))}"):
            measure(stranger)


def test_the_half_life_is_against_the_round_before_or_against_the_twin(attacked):
    assert attacked.recovery_half_life() == 1  # 0.3 lost of the whole accuracy, 0.15 back one round later
    assert attacked.recovery_half_life(twin_with(attacked.scenario, [0.1, 0.8, 0.9, 1.0, 1.0])) == 2
    assert np.isnan(twin_with(attacked.scenario, RIGHT).recovery_half_life())
