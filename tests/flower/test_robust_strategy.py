"""A robust strategy aggregates any arrays with any rule, and leaves the rest to the strategy in it."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower
from hand_messages import NODES, HandGrid, begin, failure, flat, record, reply

from fedpoison import rules
from fedpoison.errors import AggregationError, CrashError, ScenarioError
from fedpoison.flower import AttackedStrategy, RobustStrategy

MODEL = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)}


def moved(by, model=None):
    """Return the model with each floating-point array moved."""
    return {name: array + by for name, array in (model or MODEL).items()}


def robust(rule="median", inner=None, **options):
    return RobustStrategy(inner or flower.FedAvg(fraction_evaluate=0.0), rule, **options)


def aggregate(strategy, answers, arrays=None, server_round=1):
    """Run a round in which each client answers with `answers[position]`, and return arrays and metrics."""
    sent = begin(strategy, arrays or MODEL, server_round=server_round, grid=HandGrid(NODES[: len(answers)]))
    replies = [answer(sent[node]) for node, answer in zip(NODES, answers, strict=False) if answer]
    return strategy.aggregate_train(server_round, replies)


def answers(*steps, examples=10, **metrics):
    return [lambda message, step=step: reply(message, moved(step), examples, **metrics) for step in steps]


def test_the_rule_aggregates_updates_and_keeps_names_shapes_and_types():
    model = {"half": torch.ones(3, dtype=torch.float16), "double": torch.zeros(2, 2, dtype=torch.float64)}
    strategy = robust()
    said = [lambda message, step=step: reply(message, moved(step, model)) for step in (0.5, 1.0, 64.0)]
    arrays, _ = aggregate(strategy, said, model)
    assert {name: (array.numpy().dtype.name, array.numpy().tolist()) for name, array in arrays.items()} == {
        "half": ("float16", [2.0] * 3),
        "double": ("float64", [[1.0, 1.0]] * 2),
    }
    assert all(type(array) is Array for array in arrays.values())


def test_a_list_of_numpy_arrays_is_a_model():
    model = ArrayRecord([np.zeros((2, 2), np.float32), np.ones(3, np.float32)])

    def said(step):
        made = RecordDict({"arrays": ArrayRecord([array + step for array in model.to_numpy_ndarrays()])})
        return lambda message: reply(message, made)

    arrays, _ = aggregate(robust(), [said(np.float32(step)) for step in (1, 2, 9)], model)
    assert [array.tolist() for array in arrays.to_numpy_ndarrays()] == [[[2, 2], [2, 2]], [3, 3, 3]]


def test_one_model_in_several_records_per_message():
    def said(step):
        parts = moved(step)
        made = RecordDict({"head": record({"b": parts["b"]}), "body": record({"w": parts["w"]})})
        return lambda message: reply(message, made)

    arrays, metrics = aggregate(robust(), [said(step) for step in (1.0, 2.0, 9.0)])
    assert [*arrays] == ["w", "b"]
    assert torch.equal(flat(arrays), flat(record(moved(2.0))))
    assert metrics["rejected"] == 2  # the median takes all values from one client


BATCH_NORM = {
    "weight": torch.zeros(2),
    "running_mean": torch.zeros(2),
    "running_var": torch.ones(2),
    "num_batches_tracked": torch.tensor(5),
}


def with_statistics(step, statistics, batches):
    arrays = {
        "weight": torch.full((2,), step),
        "running_mean": torch.full((2,), statistics),
        "running_var": torch.full((2,), 1 + abs(statistics)),
        "num_batches_tracked": torch.tensor(batches),
    }
    return lambda message: reply(message, arrays)


def test_statistics_of_a_rejected_client_do_not_enter_the_model():
    strategy = robust("multi-krum(byzantine=1, select=2)")
    said = [
        with_statistics(step, step, batches) for step, batches in ((1.0, 7), (1.2, 9), (1.1, 6), (1.3, 8))
    ]
    arrays, metrics = aggregate(strategy, [*said, with_statistics(50.0, 1e6, 2**40)], BATCH_NORM)
    found = {name: array.numpy() for name, array in arrays.items()}
    trusted = strategy.rounds.query("trust > 0")
    assert NODES[4] not in set(trusted["node"])
    assert metrics["rejected"] == 3
    assert found["running_mean"] == pytest.approx(found["weight"])
    assert found["running_var"] == pytest.approx(1 + found["weight"])
    assert found["num_batches_tracked"] in (7, 8, 9)
    assert found["num_batches_tracked"].dtype == np.int64


def test_a_counter_that_flower_made_a_floating_point_number_is_a_buffer():
    model = {**BATCH_NORM, "num_batches_tracked": torch.tensor(4.5, dtype=torch.float64)}
    said = [with_statistics(float(step), 1.0, step) for step in (6, 7, 8)]
    arrays, metrics = aggregate(robust(), said, model)
    assert metrics["dropped"] == 0
    assert arrays["num_batches_tracked"].numpy() == pytest.approx(7)


def test_buffers_are_named_by_patterns():
    """The average of a buffer has the rule's trust as weights, and the rule does not see the buffer."""
    model = {"weight": torch.zeros(2), "ema.weight": torch.zeros(2)}
    steps = (0.0, 1.0, 6.0)
    said = [
        lambda message, step=step: reply(message, dict.fromkeys(model, torch.full((2,), step)))
        for step in steps
    ]
    strategy = robust("geometric-median", buffers=["ema.*"])
    arrays, _ = aggregate(strategy, said, model)
    mean = np.average(steps, weights=strategy.rounds["trust"])
    assert arrays["ema.weight"].numpy() == pytest.approx([mean, mean])
    assert strategy.rounds["norm"].tolist() == pytest.approx([step * 2**0.5 for step in steps])


def lost(message):
    """Return the error that Flower's SuperLink sends in its own name if a SuperNode is lost."""
    error = failure(message, "the node is lost")
    error.metadata.__dict__["_src_node_id"] = 1
    return error


def hostile(kind):
    """Return an answer that a rule cannot use, and a word of the reason."""
    extra = {**moved(0.0), "more": torch.ones(1)}
    broken = record(moved(0.0))
    broken["b"] = Array("float32", (2,), "numpy.ndarray", b"no array")
    twice = RecordDict({"a": record(moved(0.0)), "c": record({"b": torch.ones(2)})})
    return {
        "failed": (failure, "it broke"),
        "lost": (lost, "failed: the node is lost"),
        "silent": (None, "did not reply"),
        "nan": (lambda m: reply(m, moved(torch.nan)), "NaN"),
        "shape": (lambda m: reply(m, {**MODEL, "b": torch.ones(3)}), "shape"),
        "integers": (lambda m: reply(m, {**MODEL, "b": torch.ones(2, dtype=torch.int64)}), "int64"),
        "missing": (lambda m: reply(m, {"w": MODEL["w"]}), "missing ['b']"),
        "extra": (lambda m: reply(m, extra), "unexpected ['more']"),
        "no arrays": (lambda m: reply(m, RecordDict({})), "missing ['b', 'w']"),
        "bytes": (lambda m: reply(m, RecordDict({"arrays": broken})), "decoded"),
        "twice": (lambda m: reply(m, twice), "twice"),
        "no examples": (lambda m: reply(m, MODEL, None, other=1), "num-examples"),
        "negative": (lambda m: reply(m, MODEL, -5), "num-examples"),
        "not a number": (lambda m: reply(m, MODEL, float("nan")), "num-examples"),
        "other metrics": (lambda m: reply(m, MODEL, other=1.0), "metrics"),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "failed", "lost", "silent", "nan", "shape", "integers", "missing", "extra", "no arrays", "bytes",
        "twice", "no examples", "negative", "not a number", "other metrics",
    ],
)  # fmt: skip
def test_a_reply_that_cannot_be_used_is_dropped_with_its_reason(kind):
    answer, reason = hostile(kind)
    strategy = robust("fedavg")
    arrays, metrics = aggregate(strategy, [*answers(1.0, 2.0), answer])
    assert torch.equal(flat(arrays), flat(record(moved(1.5))))
    (row,) = strategy.rounds[strategy.rounds["dropped"].notna()].itertuples()
    assert (row.round, row.node) == (1, NODES[2])
    assert reason in row.dropped
    assert np.isnan(row.trust)
    assert np.isnan(row.norm)
    assert metrics["dropped"] == 1


def test_the_reason_is_logged():
    found = []
    handler = logging.Handler()
    handler.emit = lambda entry: found.append(entry.getMessage())
    logging.getLogger("flwr.fedpoison").addHandler(handler)
    try:
        aggregate(robust(), [*answers(1.0, 2.0), failure])
    finally:
        logging.getLogger("flwr.fedpoison").removeHandler(handler)
    assert found == [f"round 1: dropped node {NODES[2]}: failed: it broke"]


@pytest.mark.parametrize("examples", [0, None, -1])
def test_without_any_number_of_examples_the_error_says_so(examples):
    with pytest.raises(AggregationError, match=r"num-examples is missing, 0 or no number in all 3 .*uniform"):
        aggregate(robust(), answers(1.0, 2.0, 3.0, examples=examples))


@pytest.mark.parametrize("examples", [0, None])
def test_equal_weights_need_no_number_of_examples(examples):
    arrays, metrics = aggregate(
        robust("fedavg", weights="uniform"), answers(1.0, 3.0, examples=examples, loss=2.0)
    )
    assert torch.equal(flat(arrays), flat(record(moved(2.0))))
    assert metrics["loss"] == 2


def test_examples_weight_the_clients():
    said = [*answers(1.0, examples=30), *answers(5.0, examples=10)]
    arrays, _ = aggregate(robust("fedavg"), said)
    assert torch.equal(flat(arrays), flat(record(moved(2.0))))


KRUM = "krum(byzantine=1)"


def test_with_too_few_replies_the_model_stays():
    strategy = robust(KRUM)
    arrays, metrics = aggregate(strategy, answers(1.0, 2.0, 3.0, loss=4.0))
    assert torch.equal(flat(arrays), flat(record(MODEL)))
    assert metrics == {"loss": 4.0, "dropped": 0}
    assert strategy.rounds["trust"].isna().all()


def test_with_too_few_replies_another_rule_aggregates():
    strategy = robust(KRUM, too_few=rules.Median())
    arrays, metrics = aggregate(strategy, answers(1.0, 2.0, 30.0))
    assert torch.equal(flat(arrays), flat(record(moved(2.0))))
    assert metrics["mean-trust"] == pytest.approx(1 / 3)
    arrays, _ = aggregate(robust(KRUM, too_few="median"), [failure, failure])
    assert torch.equal(flat(arrays), flat(record(MODEL)))


def test_too_few_replies_are_an_error_on_demand():
    with pytest.raises(
        AggregationError, match=r"round 1: 3 usable replies, and Krum\(byzantine=1.* needs at least 5"
    ):
        aggregate(robust(KRUM, too_few="raise"), answers(1.0, 2.0, 3.0))


@pytest.mark.parametrize("rule", ["foolsgold", "centered-clipping", "median | adam", "afa"])
def test_the_state_of_a_rule_continues_after_a_restart(rule):
    def run(strategy, numbers, model, start=1):
        for number in numbers:
            model, _ = aggregate(
                strategy, answers(*(0.1 * number * k for k in range(5))), model, number - start + 1
            )
        return model

    whole = run(robust(rule, seed=3), (1, 2, 3, 4), record(MODEL))
    first = robust(rule, seed=3)
    model = run(first, (1, 2), record(MODEL))
    second = robust(rule, seed=3)
    second.load_state_dict(first.state_dict())
    assert torch.equal(flat(run(second, (3, 4), model, start=3)), flat(whole))
    assert second.rounds["round"].unique().tolist() == [3, 4]
    assert all(isinstance(kept, torch.Tensor) for kept in first.state_dict().values())


def test_a_state_of_another_strategy_is_refused():
    with pytest.raises(ScenarioError, match="too few: momentum"):
        robust().load_state_dict({"round": torch.tensor(1), "too few: momentum": torch.ones(1)})


def test_the_state_is_kept_by_client_whichever_clients_are_sampled():
    """AFA blocks a client: it stays blocked when only some clients train, by its node id of 64 bits."""
    nodes = [2**64 - 5, 7, 2**63 + 1, 40, 41]
    strategy = robust("foolsgold")
    for number, sampled in ((1, nodes), (2, nodes[2:])):
        sent = begin(strategy, MODEL, server_round=number, grid=HandGrid(sampled))
        strategy.aggregate_train(number, [reply(sent[node], moved(0.1 * (node % 7))) for node in sampled])
    assert strategy.rounds["node"].tolist()[:5] == [2**63 + 1, 2**64 - 5, 7, 40, 41]
    assert strategy.state_dict()["rule: nodes"].numel() == 5


class Saving(flower.FedAvg):
    """A user's strategy, which saves the model that it aggregated and counts failures."""

    saved = None

    def aggregate_train(self, server_round, replies):
        arrays, metrics = super().aggregate_train(server_round, replies)
        self.saved = arrays
        return arrays, MetricRecord({**(metrics or {}), "mine": server_round})


INNER = [
    flower.FedAvg(fraction_evaluate=0.0), flower.FedProx(proximal_mu=0.5, fraction_evaluate=0.0),
    flower.FedAdam(fraction_evaluate=0.0), flower.FedYogi(fraction_evaluate=0.0),
    flower.FedAvgM(server_momentum=0.9, fraction_evaluate=0.0), flower.Krum(fraction_evaluate=0.0),
    flower.MultiKrum(fraction_evaluate=0.0, num_nodes_to_select=2), flower.FedMedian(fraction_evaluate=0.0),
    flower.FedTrimmedAvg(fraction_evaluate=0.0), flower.Bulyan(fraction_evaluate=0.0),
    flower.FedAdagrad(fraction_evaluate=0.0), Saving(fraction_evaluate=0.0),
]  # fmt: skip


@pytest.mark.parametrize("inner", INNER, ids=lambda inner: type(inner).__name__)
def test_any_strategy_can_be_wrapped(inner):
    strategy = robust("median", inner)
    model = record(MODEL)
    for number in (1, 2):
        sent = begin(strategy, model, server_round=number, grid=HandGrid(NODES[:5]))
        model, metrics = strategy.aggregate_train(
            number, [reply(each, moved(float(n)), loss=1.0) for n, each in enumerate(sent.values())]
        )
        assert torch.equal(flat(model), flat(record(moved(2.0))))
        assert metrics["loss"] == pytest.approx(1)
        assert metrics["rejected"] == 4
    if isinstance(inner, flower.FedProx):
        assert next(iter(sent.values())).content["config"]["proximal-mu"] == 0.5
    if isinstance(inner, Saving):
        assert metrics["mine"] == 2
        assert torch.allclose(flat(inner.saved), flat(model))


def test_evaluation_is_that_of_the_wrapped_strategy():
    strategy = robust(inner=flower.FedAvg(fraction_evaluate=1.0))
    messages = list(strategy.configure_evaluate(1, record(MODEL), ConfigRecord(), HandGrid(NODES[:3])))
    assert len(messages) == 3
    for number, message in enumerate(messages):
        message.metadata.__dict__["_message_id"] = str(number + 1)
    replies = [reply(message, RecordDict({}), accuracy=0.5) for message in messages]
    assert strategy.aggregate_evaluate(1, replies)["accuracy"] == pytest.approx(0.5)


def test_differential_privacy_goes_around_a_robust_strategy():
    def private(inner):
        return flower.DifferentialPrivacyServerSideFixedClipping(
            inner, noise_multiplier=0.0, clipping_norm=1e9, num_sampled_clients=3
        )

    arrays, _ = aggregate(private(robust()), answers(1.0, 2.0, 9.0))
    assert torch.allclose(flat(arrays), flat(record(moved(2.0))))
    with pytest.raises(ScenarioError, match=r"write DifferentialPrivacy\w+\(RobustStrategy"):
        robust(inner=private(flower.FedAvg()))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: robust("kurm"), "did you mean 'krum'"),
        (lambda: robust("flwr:FedAdam"), "use Flower's strategy itself"),
        (lambda: robust(rules.Krum), "Krum\\(byzantine=2\\)"),
        (lambda: robust(3), "expected a name"),
        (lambda: robust("fltrust"), "train_on_root"),
        (lambda: robust("flare"), "needs images of clean data"),
        (lambda: robust("masa", root_images=torch.zeros(1, 1, 2, 2)), "needs labels of clean data"),
        (
            lambda: robust("masa", root_images=torch.zeros(1, 1, 2, 2), root_labels=torch.zeros(1)),
            "got no gradient",
        ),
        (lambda: robust(too_few="stop"), "unknown strategy 'stop'"),
        (lambda: robust(weights="equal"), "expected 'examples' or 'uniform'"),
        (lambda: RobustStrategy("FedAvg", "median"), "Message API"),
        (
            lambda: robust(inner=AttackedStrategy(flower.FedAvg(), "alie", nodes=[2])),
            "write AttackedStrategy",
        ),
        (lambda: robust(inner=robust()), "innermost"),
    ],
)
def test_impossible_settings_are_refused(made, words):
    with pytest.raises(ScenarioError, match=words):
        made()


def test_a_model_without_weights_is_refused():
    with pytest.raises(ScenarioError, match="without weights"):
        begin(robust(), {"trees": torch.ones(4, dtype=torch.uint8)})
    with pytest.raises(ScenarioError, match="complex64"):
        begin(robust(), {"w": torch.ones(4, dtype=torch.complex64)})


def test_replies_before_the_first_round_are_an_error():
    with pytest.raises(AggregationError, match="configure_train"):
        robust().aggregate_train(1, [])


@pytest.mark.parametrize("changes", [{"rule": "deepsight"}, {"too_few": "deepsight"}])
def test_a_rule_that_inspects_the_model_names_what_it_needs(changes):
    with pytest.raises(
        ScenarioError, match="DeepSight.*: compares predictions of models, got no predict or no"
    ):
        RobustStrategy(flower.FedAvg(), **{"rule": "median"} | changes)


def test_a_rule_that_raises_stops_the_run():
    class Fails(rules.Rule):
        card = rules.RuleCard(paper="-")

        def aggregate(self, updates, shares, context):
            raise KeyError("gone")

    with pytest.raises(CrashError, match=r"round 1, rule .*KeyError"):
        aggregate(robust(Fails()), answers(1.0, 2.0))


def test_a_rule_object_need_not_be_registered():
    class Last(rules.Rule):
        card = rules.RuleCard(paper="-")

        def aggregate(self, updates, shares, context):
            return rules.Aggregate(update=updates[-1].clone(), trust=torch.tensor([0.0, 0.0, 1.0]).double())

    arrays, _ = aggregate(robust(Last()), answers(1.0, 2.0, 9.0))
    assert torch.equal(flat(arrays), flat(record(moved(9.0))))
