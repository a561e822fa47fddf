"""Rules and pre-aggregators outside their theorems: each is defined there, and warns, or says why not."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest
import torch
from aggregating import agree, drawn
from oracles import coordinates, selection

from fedpoison.errors import ScenarioError
from fedpoison.federation.federation import Federation
from fedpoison.scenario.aggregation import read_aggregation
from fedpoison.scenario.scenario import Scenario
from strategies import PREAGGREGATORS, STRATEGIES
from strategies.base import Context, PreconditionError
from strategies.checks import check_edges, check_refusals
from strategies.pipeline import Pipeline, without_guarantee
from strategies.preaggregators import ARC, NNM, Bucketing
from strategies.rules.aksel import Aksel
from strategies.rules.caf import CAF
from strategies.rules.cge import CGE
from strategies.rules.dnc import DnC
from strategies.rules.gas import GAS, bases
from strategies.rules.krum import Krum
from strategies.rules.mda import MDA
from strategies.rules.median import Median
from strategies.rules.monna import MoNNA
from strategies.rules.smea import SMEA
from strategies.rules.spectral_filter import SpectralFilter
from strategies.rules.trimmed_mean import MeanAroundMedian
from strategies.tolerance import Relaxable

PARTS = STRATEGIES | PREAGGREGATORS
TOLERANT = sorted(name for name, kind in PARTS.items() if "byzantine" in {part.name for part in fields(kind)})
RELAXABLE = [name for name in TOLERANT if issubclass(PARTS[name], Relaxable)]
NOT_RELAXABLE = {
    "flanders": "no theorem",
    "phocas": "not relaxable",
    "slsgd": "not relaxable",
    "trimmed-mean": "not relaxable",
}
"""Other rules with `byzantine`, and words of the comment in the code that says why."""


def run(part, n):
    context = Context(generator=torch.Generator().manual_seed(0))
    rows = torch.from_numpy(drawn(n, 12))
    return part(rows, context) if isinstance(part, ARC | NNM) else part(rows, None, context).update


def test_each_part_that_tolerates_clients_is_relaxable_or_says_why_not():
    assert set(TOLERANT) - set(RELAXABLE) == set(NOT_RELAXABLE)
    for name, words in NOT_RELAXABLE.items():
        assert words in inspect.getsource(PARTS[name])
        rule = PARTS[name](byzantine=3)
        few = torch.from_numpy(drawn(3 if name == "flanders" else 6, 2))
        with pytest.raises(PreconditionError, match=f"at least {len(few) + 1} updates"):
            rule(few)
        try:  # the formula itself has no result
            undefined = rule.aggregate(few, torch.full((len(few),), 1 / len(few)), Context()).update
        except (IndexError, RuntimeError, ValueError):
            continue
        assert name == "flanders" or not undefined.isfinite().all()


@pytest.mark.parametrize("f", [1, 2])
@pytest.mark.parametrize("name", RELAXABLE)
def test_a_part_runs_wherever_it_is_defined_and_strict_is_the_default(name, f):
    strict, relaxed = PARTS[name](byzantine=f), PARTS[name](byzantine=f, strict=False)
    assert f < relaxed.minimum == strict.defined < strict.guaranteed == strict.minimum
    for n in range(relaxed.minimum, strict.minimum):
        assert run(relaxed, n).isfinite().all()
        with pytest.raises(PreconditionError, match="With strict=false, the rule runs without its guarantee"):
            run(strict, n)
    with pytest.raises(
        PreconditionError, match=f"at least {relaxed.minimum} updates, got [0-9]+[.] Tol"
    ) as few:
        run(relaxed, relaxed.minimum - 1)
    assert "strict" not in str(few.value)
    assert torch.equal(run(strict, strict.minimum), run(relaxed, strict.minimum))


@pytest.mark.parametrize("name", [name for name in RELAXABLE if name in STRATEGIES])
def test_the_smallest_rounds_outside_the_theorem_are_sound(name):
    check_refusals(STRATEGIES[name](byzantine=1, strict=False))
    check_edges(STRATEGIES[name](byzantine=1, strict=False))


@pytest.mark.parametrize("name", RELAXABLE)
def test_strict_is_left_out_of_a_scenario_unless_it_is_false(name):
    tail = " | median" if name in PREAGGREGATORS else ""
    assert read_aggregation(f"{name}(strict=true){tail}") == f"{name}{tail}"
    assert read_aggregation(f"{name}(strict=false){tail}") == f"{name}(strict=false){tail}"


@pytest.mark.parametrize(("n", "f"), [(2, 1), (3, 2), (4, 2), (5, 3), (6, 4)])
def test_rules_without_an_honest_majority_are_what_the_papers_say(n, f):
    for rule, oracle in (
        (MDA(byzantine=f, strict=False), lambda x: selection.mda(x, f)),
        (SMEA(byzantine=f, strict=False), lambda x: selection.smea(x, f)),
        (MoNNA(byzantine=f, strict=False), lambda x: selection.monna(x, f)),
        (CGE(byzantine=f, strict=False), lambda x: selection.cge(x, f)),
        (CAF(byzantine=f, strict=False), lambda x: selection.caf(x, f)),
        (DnC(byzantine=f, strict=False), lambda x: selection.dnc(x, f, [range(x.shape[1])])),
        (SpectralFilter(byzantine=f, strict=False), lambda x: selection.spectral_filter(x, f, 1e-5)),
        (MeanAroundMedian(byzantine=f, strict=False), lambda x: coordinates.mean_around_median(x, f)),
        (Aksel(byzantine=f, strict=False), lambda x: selection.aksel(x, f)),
    ):
        if n > 2 or not isinstance(rule, Aksel | CAF | DnC | SpectralFilter):  # of two, none is farther
            agree(rule, oracle, drawn(n, 4))


def test_gas_relaxes_its_base():
    for base in bases():
        relaxed = GAS(byzantine=1, base=base, strict=False)
        smallest = STRATEGIES[base](**({"byzantine": 1} if base in TOLERANT else {}))
        assert relaxed.minimum == max(2, getattr(smallest, "defined", smallest.minimum))
        assert run(relaxed, relaxed.minimum).isfinite().all()


def test_a_chain_is_relaxed_part_by_part_and_warns_for_each_part():
    strict = Pipeline(pre=(NNM(byzantine=2),), rule=Krum(byzantine=2))
    relaxed = Pipeline(pre=(NNM(byzantine=2, strict=False),), rule=Krum(byzantine=2, strict=False))
    assert (strict.minimum, strict.defined, relaxed.minimum) == (7, 4, 4)
    with pytest.raises(PreconditionError, match="With strict=false"):
        Pipeline(pre=(Bucketing(order="fixed", size=1),), rule=Krum(byzantine=2))(torch.ones(6, 2))
    first, second = without_guarantee(relaxed, 4)
    assert first.startswith("NNM(byzantine=2) needs n > 2f for its guarantee: at least 5 updates, got 4.")
    assert "n > 2f + 2 for its guarantee: at least 7 updates, got 4" in second
    assert len(without_guarantee(relaxed, 5)) == 1
    assert without_guarantee(relaxed, 7) == without_guarantee(Median(), 1) == []


def test_a_run_outside_the_theorem_warns(small):
    scenario = small.replace(clients=4, tolerated=2, strategy="mda(strict=false)")
    assert any(
        "MDA(byzantine=2, steps=100000) needs n > 2f" in warning
        for warning in Federation.load(scenario).warnings
    )


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("smea(subsets=1)", "SMEA.* needs more than 1 subsets of 10 updates"),
        ("nnm | smea(subsets=1)", "SMEA.* needs more than 1 subsets of 10 updates"),
        ("bucketing(size=2) | smea(subsets=4)", "needs more than 4 subsets of 5 updates"),
        ("gas(base=smea)", None),
        ("monna(trusted=10)", "MoNNA.* gets no update of client 10"),
        ("monna(trusted=9)", None),
        ("nnm | monna(trusted=10)", "MoNNA.* gets no update of client 10"),
        ("bucketing | monna(trusted=5)", "MoNNA.* gets no update of client 5"),
        ("bucketing | monna(trusted=4)", None),
        ("multi-krum(select=11)", "at least 11 updates, got 10"),
        ("robust-learning-rate(threshold=11)", "n >= threshold: at least 11 updates, got 10"),
        ("dnc(fraction=5)", "at least 11 updates, got 10"),
        ("bucketing(size=9) | median", None),
        ("bucketing(size=9) | krum", "at least 55 updates, got 10"),
    ],
)
def test_a_parameter_that_no_round_suits_is_refused_before_the_run(strategy, message):
    fields = {"clients": 10, "malicious": 0.2, "strategy": strategy}
    if message is None:
        Scenario(**fields)
        return
    with pytest.raises(ScenarioError, match=message):
        Scenario.parse(fields)


def test_the_trusted_client_may_be_any_that_trains_in_some_round():
    assert Scenario(clients=10, participation=0.5, strategy="monna(trusted=9)").sampled == 5
