"""A chain of pre-aggregators, a rule and an optimizer is a rule that gives what its parts give in turn."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from oracles import pipeline as oracles

from strategies.base import Aggregate, Context, InputError, PreconditionError, RuleCard
from strategies.checks import check_rule
from strategies.optimizers import SGD, Adam, Yogi
from strategies.pipeline import Pipeline, without_guarantee
from strategies.preaggregators import ARC, NNM, Bucketing, Clipping
from strategies.rules.fedavg import FedAvg
from strategies.rules.krum import Krum
from strategies.rules.median import Median
from strategies.rules.multi_krum import MultiKrum
from strategies.rules.trimmed_mean import TrimmedMean

CHAINS = [
    Pipeline(pre=(NNM(byzantine=1),), rule=TrimmedMean(byzantine=1)),
    Pipeline(pre=(NNM(byzantine=1),), rule=MultiKrum(byzantine=1), optimizer=SGD()),
    Pipeline(pre=(Bucketing(),), rule=Krum(byzantine=1)),
    Pipeline(pre=(Bucketing(order="fixed"),), rule=FedAvg(), optimizer=Yogi()),
    Pipeline(pre=(Clipping(threshold=0.5), Bucketing(), NNM(byzantine=1)), rule=Median(), optimizer=Adam()),
    Pipeline(pre=(ARC(byzantine=2),), rule=FedAvg()),
    Pipeline(rule=Median(), optimizer=SGD(momentum=0.0)),
]


def drawn(n, d=30, dtype=torch.float64):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(n), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("pipeline", CHAINS, ids=repr)
def test_a_chain_keeps_the_laws_of_rules(pipeline):
    check_rule(pipeline)


def test_a_chain_gives_what_its_parts_give_one_after_the_other():
    updates = drawn(9)
    pipeline = Pipeline(
        pre=(Clipping(threshold=4.0), NNM(byzantine=2)),
        rule=TrimmedMean(byzantine=2),
        optimizer=Adam(lr=0.1, tau=0.1),
    )
    X = oracles.nnm(oracles.clipping(updates.numpy(), 4.0), 2)
    aggregated = oracles.trimmed_mean(X, 2)
    wanted = oracles.adaptive([aggregated] * 3, "adam", lr=0.1, beta1=0.9, beta2=0.99, tau=0.1)
    state = {}
    for step in wanted:
        result = pipeline(updates, None, Context(state=state))
        torch.testing.assert_close(result.update, torch.from_numpy(step))
        state = result.state


def test_trust_is_read_back_through_every_part():
    updates = torch.tensor([[1.0], [3.0], [8.0], [30.0]])
    pipeline = Pipeline(pre=(Clipping(threshold=10), Bucketing(order="fixed")), rule=FedAvg())
    result = pipeline(updates)
    torch.testing.assert_close(result.trust, torch.tensor([0.25, 0.25, 0.25, 0.25 / 3]).double())
    torch.testing.assert_close(result.update, torch.tensor([5.5]))
    krum = Pipeline(pre=(Bucketing(order="fixed"),), rule=Krum())
    rejected = torch.tensor([[1.0], [1.0], [2.0], [2.0], [90.0], [3.0]])
    assert krum(rejected).trust.tolist() == [0.5, 0.5, 0.0, 0.0, 0.0, 0.0]


def test_a_bucket_weighs_as_much_as_its_clients_on_average():
    updates = torch.tensor([[0.0], [0.0], [4.0]])
    pipeline = Pipeline(pre=(Bucketing(order="fixed"),), rule=FedAvg())
    result = pipeline(updates, torch.tensor([1.0, 3.0, 2.0]))
    torch.testing.assert_close(result.update, torch.tensor([2.0]))
    mixed = Pipeline(pre=(NNM(),), rule=FedAvg())  # every row is the mean, whatever it weighs
    torch.testing.assert_close(mixed(updates, torch.tensor([0.0, 0.0, 1.0])).update, updates.mean(dim=0))


@dataclass(frozen=True, kw_only=True)
class Remembers:
    """Averages, counts its rounds, and notes the nodes it was told."""

    card: ClassVar = RuleCard(paper="-", needs=("history",))
    minimum: ClassVar[int] = 1
    seen: ClassVar[list] = []

    def __call__(self, updates, weights=None, context=None):
        self.seen.append(context.client_ids)
        count = context.state.get("count", torch.zeros(())) + 1
        return replace(FedAvg()(updates, weights), state={"count": count})


def test_each_part_gets_its_own_state_back():
    pipeline = Pipeline(rule=Remembers(), optimizer=SGD(momentum=0.5))
    state = {}
    for _ in range(3):
        result = pipeline(torch.ones(2, 4), None, Context(state=state))
        state = result.state
    assert float(state["rule: count"]) == 3
    torch.testing.assert_close(state["optimizer: velocity"], torch.full((4,), 1.75))
    torch.testing.assert_close(result.update, torch.full((4,), 1.75))


def test_nodes_are_named_only_where_rows_stand_for_them():
    context = Context(client_ids=(4, 5, 6), generator=torch.Generator())
    Remembers.seen.clear()
    for part in (NNM(), Bucketing()):
        Pipeline(pre=(part,), rule=Remembers())(torch.ones(3, 2), None, context)
    assert Remembers.seen == [(4, 5, 6), None]


@pytest.mark.parametrize(
    ("pipeline", "minimum"),
    [
        (Pipeline(pre=(Bucketing(size=3),), rule=Krum(byzantine=2)), 19),
        (Pipeline(pre=(NNM(byzantine=4),), rule=Median()), 9),
        (Pipeline(pre=(Bucketing(), Bucketing()), rule=TrimmedMean(byzantine=1)), 9),
        (Pipeline(pre=(Bucketing(), NNM(byzantine=2)), rule=Median()), 9),
        (Pipeline(rule=Krum(byzantine=2), optimizer=SGD()), 7),
    ],
    ids=repr,
)
def test_the_rule_has_to_be_defined_for_the_rows_that_it_gets(pipeline, minimum):
    assert pipeline.minimum == minimum
    context = Context(generator=torch.Generator())
    assert isinstance(pipeline(drawn(minimum), None, context), Aggregate)
    with pytest.raises(PreconditionError, match=f"at least {minimum} updates, got {minimum - 1}"):
        pipeline(drawn(minimum - 1), None, context)


def test_a_chain_of_one_link_is_refused():
    with pytest.raises(ValueError, match="alone, expected a pre-aggregator"):
        Pipeline(rule=Median())


def test_the_card_sums_the_parts_up():
    pipeline = Pipeline(pre=(Bucketing(), NNM(byzantine=1)), rule=Krum(byzantine=1), optimizer=SGD())
    assert pipeline.card.needs == ("randomness", "byzantine", "history")
    assert pipeline.card.precondition == "n >= 1 (Bucketing), then n > 2f (NNM), then n > 2f + 2 (Krum)"
    assert "ICLR 2022" in pipeline.card.paper
    assert not pipeline.card.permutation_equivariant


def test_what_is_not_finite_is_named_by_its_client():
    updates = drawn(7)
    updates[5, 0] = torch.inf
    pipeline = Pipeline(pre=(Bucketing(order="fixed"),), rule=Median())
    with pytest.raises(InputError, match=r"rows \[5\] contain NaN"):
        pipeline(updates)


@pytest.mark.parametrize("byzantine", [1_000_000, 2_147_483_648])
def test_the_smallest_number_of_updates_is_found_at_once(byzantine):
    krum = Krum(byzantine=byzantine)
    assert Pipeline(pre=(NNM(byzantine=0),), rule=krum).minimum == 2 * byzantine + 3
    assert Pipeline(pre=(Bucketing(size=2),), rule=krum).minimum == 4 * byzantine + 5


def test_a_rule_outside_its_theorem_gives_a_warning():
    relaxed = Krum(byzantine=1, strict=False)
    assert "at least 5 updates, got 4" in without_guarantee(relaxed, 4)[0]
    assert "got 4" in without_guarantee(Pipeline(pre=(Bucketing(size=2),), rule=relaxed), 8)[0]
    assert without_guarantee(relaxed, 5) == without_guarantee(Median(), 1) == []
