"""Weights become messages and come back, and replies that cannot be used are dropped."""

from dataclasses import dataclass
from typing import ClassVar

import flwr.serverapp.strategy as flower
import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from threats import attacked_by

from clients.attacks.base import Attack, AttackCard
from clients.training.trainer import Trainer
from fedpoison.cli.progress import describe
from fedpoison.engines import base as cohort_grid
from fedpoison.engines.local import LocalGrid
from fedpoison.errors import CrashError, RunError
from fedpoison.federation.federation import Federation
from fedpoison.federation.messages import ARRAYS, METRICS, PayloadError, TensorArray, from_record, to_record
from fedpoison.simulation.run import run_federation, simulate
from strategies.base import Aggregate
from strategies.rules.median import Median

LAYOUT = (("a", torch.Size([2, 3])), ("b", torch.Size([4])))


@pytest.fixture
def weights():
    return torch.arange(20.0)[5:15]


def test_weights_come_back_without_a_copy(weights):
    back = from_record(to_record(weights, LAYOUT), LAYOUT)
    assert torch.equal(back, weights)
    assert back.data_ptr() == weights.data_ptr()


def test_what_was_serialised_comes_back_too(weights):
    record = to_record(weights, LAYOUT)
    for name in record:
        record[name] = Array("float32", record[name].shape, "numpy.ndarray", record[name].data)
    assert torch.equal(from_record(record, LAYOUT), weights)


def test_an_exchanged_array_is_what_counts(weights):
    record = to_record(weights, LAYOUT)
    record["b"] = TensorArray(torch.ones(4))
    assert from_record(record, LAYOUT)[6:].tolist() == [1, 1, 1, 1]
    assert weights[6:].tolist() != [1, 1, 1, 1]


def test_double_precision_is_read_as_single(weights):
    back = from_record(to_record(weights.double(), LAYOUT), LAYOUT)
    assert back.dtype == torch.float32
    assert torch.equal(back, weights)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.ones(5), "shape"),
        (torch.ones(4, dtype=torch.int64), "int64"),
        (torch.full((4,), torch.nan), "NaN"),
    ],
)
def test_what_does_not_fit_is_refused(weights, tensor, words):
    record = to_record(weights, LAYOUT)
    record["b"] = TensorArray(tensor)
    with pytest.raises(PayloadError, match=words):
        from_record(record, LAYOUT)


@dataclass(frozen=True, kw_only=True)
class Raises(Attack):
    card: ClassVar = AttackCard(paper="-")

    def train(self, trainer, samples, context):
        raise OSError("the disk is full")


@dataclass(frozen=True, kw_only=True)
class Sends(Attack):
    """Sends an update full of one value, in some rounds or in all."""

    value: str
    rounds: tuple[int, ...] = ()

    card: ClassVar = AttackCard(paper="-")

    def craft(self, own, seen, context):
        sends = not self.rounds or context.round in self.rounds
        return torch.full_like(own, float(self.value)) if sends else own


@pytest.fixture
def broken(small, monkeypatch):
    """Return a function that runs the small scenario with an attack of the tests' own."""

    def play(attack, **changes):
        return run_federation(
            Federation.load(attacked_by(small.replace(malicious_nodes=(3, 8), **changes), attack))
        )

    return play


def test_a_model_that_overflows_ends_the_run_with_the_reason(broken):
    with pytest.raises(RunError, match="round 1: Pipeline.* gave a non-finite model"):
        broken(Sends(value="3e38"), strategy="trimmed-mean(byzantine=0) | sgd(lr=10)")


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (Sends(value="nan"), "contains NaN or infinity"),
        (Sends(value="inf"), "contains NaN or infinity"),
    ],
    ids=["nan", "inf"],
)
def test_an_unusable_client_is_dropped_and_named_and_the_run_goes_on(broken, attack, reason):
    history = broken(attack)
    assert history.last.round == 3
    for record in history.records[1:]:
        assert record.training.dropped == {3: reason, 8: reason}
        assert set(record.training.trust) == set(range(10)) - {3, 8}
    assert history.last.accuracy > 0.5


def tampered(tamper):
    """Return a local grid on which nodes 3 and 8 send what `tamper` makes of their reply."""

    class Tampered(LocalGrid):
        def send_and_receive(self, messages, *, timeout=None):
            for reply in super().send_and_receive(messages, timeout=timeout):
                bad = reply.metadata.src_node_id - cohort_grid.FIRST_NODE_ID in (3, 8)
                if bad and reply.has_content() and ARRAYS in reply.content:
                    changed = tamper(reply)
                    if changed is not None:
                        yield changed
                else:
                    yield reply

    return Tampered


def reshaped(reply):
    name = next(iter(reply.content[ARRAYS]))
    reply.content[ARRAYS][name] = Array(np.zeros((2, 2), dtype=np.float32))
    return reply


def retyped(reply):
    name, array = next(iter(reply.content[ARRAYS].items()))
    reply.content[ARRAYS][name] = Array(np.zeros(array.shape, dtype=np.int64))
    return reply


def undecodable(reply):
    name, array = next(iter(reply.content[ARRAYS].items()))
    reply.content[ARRAYS][name] = Array(array.dtype, array.shape, "numpy.ndarray", b"nonsense")
    return reply


def with_extra_array(reply):
    reply.content[ARRAYS]["extra"] = Array(np.zeros(1, dtype=np.float32))
    return reply


def without_metrics(reply):
    return Message(RecordDict({ARRAYS: ArrayRecord(dict(reply.content[ARRAYS]))}), reply_to=reply)


def greedy(reply):
    reply.content[METRICS] = MetricRecord({**reply.content[METRICS], "num-examples": float("nan")})
    return reply


def negative(reply):
    reply.content[METRICS] = MetricRecord({**reply.content[METRICS], "num-examples": -5})
    return reply


@pytest.mark.parametrize(
    ("tamper", "reason"),
    [
        (reshaped, "got torch.float32 of shape (2, 2)"),
        (retyped, "got torch.int64"),
        (undecodable, "cannot be decoded"),
        (with_extra_array, "got arrays"),
        (greedy, "num-examples: got nan"),
        (negative, "num-examples: got -5"),
        (lambda _: None, "did not reply"),
    ],
    ids=["shape", "dtype", "bytes", "extra", "nan-examples", "negative-examples", "silent"],
)
def test_a_damaged_reply_is_dropped_and_named(small, monkeypatch, tamper, reason):
    monkeypatch.setattr("fedpoison.engines.local.LocalGrid", tampered(tamper))
    history = run_federation(Federation.load(small.replace(rounds=2)))
    for record in history.records[1:]:
        assert sorted(record.training.dropped) == [3, 8]
        assert all(reason in text for text in record.training.dropped.values())
    assert history.last.accuracy > 0.3


def test_a_run_that_trained_nobody_is_no_result(small):
    scenario = attacked_by(small.replace(malicious=1.0), Sends(value="nan"))
    words = r"no honest reply was usable in 2 of 3 rounds \(contains NaN or infinity\)"
    with pytest.raises(RunError, match=words):
        run_federation(Federation.load(scenario))


def test_a_learning_rate_that_loses_every_honest_reply_is_no_result(small):
    with pytest.raises(RunError, match="no honest reply was usable in 2 of 3 rounds"):
        run_federation(Federation.load(small.replace(lr=1e30)))


def test_replies_of_attackers_alone_do_not_train_a_model(small):
    scenario = small.replace(lr=1e30, attack="zero-update", strategy="median", rounds=5)
    with pytest.raises(RunError, match=r"no honest reply was usable in 3 of 5 rounds .*contains NaN or inf"):
        run_federation(Federation.load(scenario))


@pytest.mark.parametrize(("rounds", "warnings"), [((2,), 1), ((2, 3), 1), ((2, 4), 2), ((2, 3, 5), 2)])
def test_a_sequence_of_rounds_that_do_not_change_the_model_is_warned_of_once(small, rounds, warnings):
    heard, shown = [], []
    scenario = small.replace(malicious=1.0, attack="sign-flip", rounds=7)
    scenario = attacked_by(scenario, Sends(value="nan", rounds=rounds))
    simulate(scenario, notify=heard.append, on_round=lambda record: shown.append(describe(record)))
    words = "round 2 did not change the model: no reply was usable (contains NaN or infinity)"
    assert heard[0] == words
    assert len(heard) == warnings
    marked = [number for number, text in enumerate(shown) if "model unchanged (no reply was usable)" in text]
    assert tuple(marked) == rounds


def test_a_round_without_a_usable_reply_is_counted_and_noted(small):
    scenario = small.replace(malicious=1.0, schedule="once(round=2)", evaluate_every=2)
    history = run_federation(Federation.load(attacked_by(scenario, Sends(value="nan"))))
    assert [record.round for record in history.records] == [0, 2, 3]
    assert history.dropped == {"contains NaN or infinity": 10}
    assert history.unchanged == {"no reply was usable": 1}
    assert history.summary()["dropped"] == history.dropped
    assert history.notes == [
        "10 replies were unusable: 10 x contains NaN or infinity",
        "1 of 3 rounds did not change the model: no reply was usable",
    ]


def test_a_strategy_that_never_aggregates_is_noted(small, monkeypatch):
    monkeypatch.setattr(flower.FedAvg, "aggregate_train", lambda *_: (None, None))
    history = run_federation(Federation.load(small.replace(strategy="flwr:FedAvg")))
    assert history.unchanged == {"the strategy did not aggregate": 3}
    reason = "none of the 3 rounds changed the model: the strategy did not aggregate"
    assert history.defects.no_result == (reason,)
    assert history.notes == [f"no result: {reason}"]
    assert history.summary()["no_result"] == reason


def test_an_attack_that_raises_stops_the_run_and_is_named(broken):
    with pytest.raises(CrashError, match="round 1, client 3, attack test-0: .*OSError: the disk is full"):
        broken(Raises())


def test_an_attack_whose_updates_have_another_shape_stops_the_run(broken, monkeypatch):
    monkeypatch.setattr(Sends, "craft", lambda self, own, seen, context: own[:, :3])
    words = (
        r"round 1, clients 3, 8, attack test-0: .*Sends returned Tensor of shape \(\d, 3\), expected a tensor"
    )
    with pytest.raises(CrashError, match=words):
        broken(Sends(value="1.0"))


def test_honest_training_that_raises_stops_the_run(broken, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("one parameter is frozen")

    monkeypatch.setattr(Trainer, "fit", fail)
    with pytest.raises(CrashError, match="client 0, honest training: .*RuntimeError: one parameter"):
        broken(Sends(value="1.0"))


def test_a_rule_that_raises_or_returns_another_shape_stops_the_run(broken, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(Median, "aggregate", fail)
    with pytest.raises(CrashError, match="round 1, strategy median: the code raised ZeroDivisionError"):
        broken(Sends(value="1.0"), strategy="median")
    short = Aggregate(update=torch.zeros(1), trust=torch.ones(10))
    monkeypatch.setattr(Median, "aggregate", lambda *_: short)
    with pytest.raises(
        CrashError, match=r"strategy median: .*strategies.rules.median.Median returned .*shape \(1,\)"
    ):
        broken(Sends(value="1.0"), strategy="median")


def test_a_run_stops_when_too_few_are_left_for_the_rule(broken):
    with pytest.raises(RunError, match=r"round 1: Krum.*needs n > 2f \+ 2: at least 9 updates, got 8"):
        broken(Sends(value="nan"), strategy="krum(byzantine=3)")
