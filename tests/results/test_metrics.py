import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics

from clients.attacks.base import AttackGoal
from fedpoison.federation.update_statistics import update_statistics
from fedpoison.results import metrics as measures
from fedpoison.results.round import Evaluation, Round, Training

labels = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


@given(labels)
def test_agrees_with_scikit_learn(pairs):
    true, predicted = np.array(pairs).T
    confusion = metrics.confusion_matrix(true, predicted, labels=range(4))
    report = {"labels": range(4), "average": None, "zero_division": np.nan}
    assert measures.accuracy(confusion) == pytest.approx(metrics.accuracy_score(true, predicted))
    np.testing.assert_allclose(
        measures.per_class_accuracy(confusion), metrics.recall_score(true, predicted, **report)
    )
    np.testing.assert_allclose(
        measures.per_class_precision(confusion), metrics.precision_score(true, predicted, **report)
    )
    np.testing.assert_allclose(measures.per_class_f1(confusion), metrics.f1_score(true, predicted, **report))


@given(
    arrays(np.int64, (3, 3), elements=st.integers(1, 50)),
    arrays(np.int64, (3, 3), elements=st.integers(1, 50)),
)
def test_confusion_matrices_add_up(a, b):
    total = a.sum() + b.sum()
    expected = (measures.accuracy(a) * a.sum() + measures.accuracy(b) * b.sum()) / total
    assert measures.accuracy(a + b) == pytest.approx(expected)


def test_the_worst_class_ignores_classes_without_samples():
    assert measures.worst_class_accuracy(np.array([[1, 1, 0], [0, 4, 0], [0, 0, 0]])) == 0.5


def test_attack_success_leaves_the_target_class_out():
    triggered = np.array([[9, 1, 0], [0, 10, 0], [0, 4, 6]])
    assert measures.attack_success_rate(triggered, target=1) == (1 + 4) / 20


def test_source_to_target_is_a_share_of_the_source():
    assert measures.source_to_target_rate(np.array([[8, 2], [0, 5]]), 0, 1) == 0.2


def test_trust_rates_tell_who_was_caught_and_who_was_blamed():
    trust = {0: 0.0, 1: 0.3, 2: 0.35, 3: 0.35, 4: 0.0}
    assert measures.trust_rates(trust, malicious=[0, 1]) == (0.5, pytest.approx(1 / 3))
    caught, blamed = measures.trust_rates({0: 1.0}, malicious=[])
    assert np.isnan(caught)
    assert blamed == 0


def test_dropped_attackers_count_as_rejected():
    trust = {0: 0.5, 1: 0.5}
    assert measures.trust_rates(trust, malicious=[2, 3], dropped=[2, 3]) == (1.0, 0.0)
    assert measures.trust_rates(trust, malicious=[0, 2], dropped=[2, 4]) == (0.5, 0.0)


def test_a_rule_that_believes_nobody_rejects_everybody():
    assert measures.trust_rates({0: 0.0, 1: 0.0}, malicious=[0]) == (1.0, 1.0)


trusts = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5]) | st.floats(0, 1), st.booleans()),
    min_size=1,
    max_size=20,
)


@given(trusts)
def test_auroc_agrees_with_scikit_learn(clients):
    trust = {client_id: share for client_id, (share, _) in enumerate(clients)}
    malicious = [client_id for client_id, (_, bad) in enumerate(clients) if bad]
    found = measures.trust_auroc(trust, malicious)
    if 0 < len(malicious) < len(trust):
        honest = [client_id not in malicious for client_id in trust]
        assert found == pytest.approx(metrics.roc_auc_score(honest, list(trust.values())))
    else:
        assert np.isnan(found)
    assert measures.malicious_mass(trust, malicious) == pytest.approx(
        sum(share for share, bad in clients if bad)
    )


def test_nodes_without_trust_do_not_count():
    assert measures.trust_auroc({0: 1.0, 1: 0.0}, malicious=[1, 7]) == 1
    assert measures.malicious_mass({0: 1.0, 1: 0.0}, malicious=[0, 7]) == 1


BEFORE, AFTER = [0.1, 0.8], [0.3, 0.45, 0.55, 0.75]


@pytest.mark.parametrize(
    ("accuracy", "acted", "reference", "half_life"),
    [
        (BEFORE + AFTER, [0, 0, 1, 0, 0, 0], None, 2),  # 0.5 lost, 0.25 regained at 0.55
        (BEFORE + AFTER, [0, 0, 1, 1, 0, 0], None, 2),  # 0.35 lost, 0.175 regained at 0.75
        (BEFORE + AFTER, [0, 0, 1, 0, 0, 1], None, np.nan),  # attacks to the end
        (BEFORE + AFTER, [0, 0, 0, 0, 0, 0], None, np.nan),  # never attacks
        (BEFORE + AFTER, [0, 1, 1, 0, 0, 0], None, np.nan),  # better than the level before it
        ([0.8, 0.3, 0.4, 0.5], [0, 1, 0, 0], None, np.nan),  # not regained
        ([0.8, 0.3, 0.55], [0, 1, 0], None, 1),  # exactly half
        ([0.1, 0.3, 0.55, 0.7], [0, 1, 0, 0], [0.1, 0.7, 0.8, 0.9], 2),  # 0.4 missing, then 0.25, 0.2
        ([0.1, 0.9, 0.9], [0, 1, 0], [0.1, 0.7, 0.8], np.nan),  # better than the twin
        ([0.1, 0.9], [1, 0], None, np.nan),  # nothing came before
    ],
)
def test_the_half_life_of_recovery(accuracy, acted, reference, half_life):
    found = measures.recovery_half_life(accuracy, [bool(active) for active in acted], reference)
    assert found == pytest.approx(half_life, nan_ok=True)


def test_deviations_of_huge_updates_are_finite():
    sent = torch.stack([torch.full((9,), 1e30), torch.ones(9), torch.zeros(9)])
    found = update_statistics(sent, [0, 1, 2], honest=[1, 2])
    assert found.norms == {0: pytest.approx(3e30), 1: 3, 2: 0}
    assert found.distances == {0: pytest.approx(3e30), 1: 1.5, 2: 1.5}
    assert found.cosines == {0: pytest.approx(1), 1: 1}  # a zero update has no direction
    assert update_statistics(sent, [0, 1, 2], honest=[]).distances == {}


def test_tiny_updates_are_measured_too():
    found = update_statistics(torch.full((2, 4), 1e-24), [0, 1], honest=[0, 1])
    assert found.norms == pytest.approx({0: 2e-24, 1: 2e-24})
    assert found.cosines == pytest.approx({0: 1.0, 1: 1.0})


def test_no_record_has_a_rate_that_is_not_a_number():
    """Rates without samples are left out."""
    counts = np.array([[0, 0], [1, 3]])
    evaluation = Evaluation(confusion=counts, loss=1.0, triggered=counts)
    goal = AttackGoal(target=1, source=0)
    record = Round.from_evaluation(1, evaluation, goal, Training())
    assert record.attack_success_rate is None
    assert record.source_to_target_rate is None
    assert "NaN" not in record.to_json()
