"""Update attacks know what their cards declare, and search with the server's rule as far as they know it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from crafting import D, H, M, context, displacement, drawn

from clients.attacks.composite import craft_updates
from clients.attacks.updates.adaptive_mimic import AdaptiveMimic
from clients.attacks.updates.alie import Alie, OptimalAlie
from clients.attacks.updates.identical_coordinate import IdenticalCoordinate
from clients.attacks.updates.ipm import Ipm, OptimalIpm
from clients.attacks.updates.min_max import Tailored
from clients.attacks.updates.rule_search import Probe
from fedpoison.federation.adversary import rule_kind
from fedpoison.scenario.aggregation import build_aggregation


def test_the_number_tolerated_and_the_honest_nodes_are_handed_over_as_declared(own, honest):
    given = []

    def handed(kind, *, knowledge=None):
        class Recorder(kind):
            def craft(self, own, seen, context):
                given.append((context.tolerated, context.seen_client_ids))
                return own

        craft_updates(
            Recorder(), own, honest, lambda *_: context(seen_client_ids=(7, 8)), client_ids=(0, 1, 2, 3)
        )
        return given.pop()

    assert handed(Tailored) == (M, (7, 8))
    assert handed(Ipm) == (None, (7, 8))
    assert handed(Alie) == (None, ())


def test_without_sight_of_the_honest_own_updates_stand_for_them(own):
    calls = []

    def rule(updates):
        calls.append(updates.clone())
        return updates.mean(dim=0)

    probe = Probe(own, None, context(rule=rule))
    probe.along(torch.ones(D, dtype=torch.float64), start=0.0, coordinates=D)(0.0)
    assert len(calls[0]) == M + H
    assert not calls[0][:M].any()
    assert torch.equal(calls[0][M:], own.repeat(H // M, 1))


def watched(spec, kind, d):
    """Return updates of d coordinates, a rule of this kind as attackers know it, and a list of widths.

    It grows by the width of whatever the rule is tried on.
    """
    rule = build_aggregation(spec, byzantine=M)
    assert rule_kind(rule.card) == kind
    widths = []

    def tried(updates):
        widths.append(updates.shape[1])
        return rule(updates).update

    return 0.3 + drawn(M, d, seed=4), 0.3 + drawn(H, d, seed=5), tried, widths


SEARCHES = [
    OptimalAlie(),
    OptimalIpm(),
    Tailored(),
    Tailored(direction="unit"),
    IdenticalCoordinate(),
    IdenticalCoordinate(coordinate=None),
]


@pytest.mark.parametrize("attack", SEARCHES, ids=repr)
@pytest.mark.parametrize("spec", ["krum", "nnm | multi-krum", "geometric-median", "cge", "fedavg"])
def test_a_rule_that_turns_is_searched_in_the_span_with_the_same_result(attack, spec):
    d = 400
    own, honest, tried, widths = watched(spec, "turns", d)
    whole = attack.craft(own, honest, context(d, rule=tried))
    assert set(widths) == {d}
    widths.clear()
    span = attack.craft(own, honest, context(d, rule=tried, rule_kind="turns"))
    assert set(widths) == {H + 2}
    torch.testing.assert_close(span, whole, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("attack", SEARCHES, ids=repr)
@pytest.mark.parametrize("spec", ["median", "trimmed-mean", "phocas", "mean-around-median"])
def test_a_rule_by_coordinate_is_searched_on_some_with_almost_the_same_damage(attack, spec):
    d = 6000
    own, honest, tried, widths = watched(spec, "by coordinate", d)
    whole = attack.craft(own, honest, context(d, rule=tried))
    some = replace(attack, probe_coordinates=1000).craft(
        own, honest, context(d, rule=tried, rule_kind="by coordinate")
    )
    one_alone = isinstance(attack, IdenticalCoordinate) and attack.coordinate is not None
    assert widths[-1] == (1 if one_alone else 1000)
    if one_alone:
        torch.testing.assert_close(some, whole, rtol=1e-6, atol=1e-9)
    assert displacement(tried, some, honest) > 0.99 * displacement(tried, whole, honest)


def test_what_looks_back_or_at_the_model_is_tried_on_all_of_it():
    for spec in ("fedavg | adam", "nnm | median", "centered-clipping", "fltrust", "lasa", "bulyan"):
        assert rule_kind(build_aggregation(spec, byzantine=1).card) is None


def test_an_attack_on_a_rule_that_it_does_not_know_says_so(own, honest):
    for attack in (OptimalIpm(), OptimalAlie(), Tailored(), IdenticalCoordinate(), AdaptiveMimic()):
        with pytest.raises(ValueError, match="expected the server's rule"):
            attack.craft(own, honest, context(rule=None))


@pytest.mark.parametrize("attack", [OptimalIpm, OptimalAlie, Tailored, IdenticalCoordinate])
@pytest.mark.parametrize("evaluations", [2, 7, 20])
def test_the_rule_is_tried_as_often_as_the_knob_says(own, honest, attack, evaluations):
    calls = []

    def rule(updates):
        calls.append(len(updates))
        return updates.mean(dim=0)

    attack(evaluations=evaluations).craft(own, honest, context(rule=rule))
    assert calls == [M + H] * evaluations
