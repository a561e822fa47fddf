"""The attacker on the wire: what it sees, what it sends, what the host makes of it."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from threats import attacked_by

from clients.attack import Attack, AttackCard, Knowledge
from fedpoison.fleet import Federation
from fedpoison.simulation import run, simulate


@dataclass(frozen=True)
class Witness(Attack):
    """Writes down what it is handed, and sends its own."""

    seen: list

    card: ClassVar = AttackCard(paper="-")

    def __hash__(self):
        return 0

    def craft(self, own, seen, context):
        self.seen.append((own.shape[0], None if seen is None else len(seen), context))
        return own


@dataclass(frozen=True)
class ColludingWitness(Witness):
    card: ClassVar = AttackCard(paper="-", knowledge=Knowledge.COLLUDING)
    __hash__ = Witness.__hash__


@dataclass(frozen=True)
class OmniscientWitness(Witness):
    card: ClassVar = AttackCard(paper="-", knowledge=Knowledge.OMNISCIENT, knows_rule=True)
    __hash__ = Witness.__hash__


def witnessed(scenario, kind):
    attack = kind([])
    return run(Federation.load(attacked_by(scenario, attack))), attack.seen


@pytest.mark.parametrize(
    ("kind", "calls", "own", "honest"),
    [(Witness, 2, 1, None), (ColludingWitness, 1, 2, None), (OmniscientWitness, 1, 2, 8)],
)
def test_each_knowledge_is_handed_what_it_covers(small, kind, calls, own, honest):
    _, seen = witnessed(small, kind)
    assert len(seen) == calls * small.rounds
    assert {(rows, others) for rows, others, _ in seen} == {(own, honest)}
    for _, _, context in seen:
        assert (context.clients, context.malicious) == (10, 2)
        assert (context.rule is not None) == kind.card.knows_rule
        assert (context.previous_model is None) == (context.round == 1)


def test_the_rule_that_is_handed_over_is_the_servers(small):
    history, seen = witnessed(small.but(strategy="median"), OmniscientWitness)
    rule = seen[0][2].rule
    updates = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(rule(updates), np.median(updates, axis=0), rtol=1e-6)
    assert history.last.accuracy > 0.5


def test_sending_the_own_update_changes_nothing_but_rounding(small):
    clean = simulate(small)
    history, _ = witnessed(small, ColludingWitness)
    for mine, theirs in zip(history.records, clean.records, strict=True):
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-4)


def test_a_scaled_update_has_the_norm_that_it_should(small):
    clean, scaled = simulate(small.but(rounds=1)), simulate(small.but(rounds=1, attack="scaled-update"))
    malicious = scaled.last.training.malicious
    for node, norm in scaled.last.training.update_norms.items():
        factor = 10 if node in malicious else 1
        assert norm == pytest.approx(factor * clean.last.training.update_norms[node], rel=1e-3)


def test_the_damage_and_the_defence(small):
    """An average is owned by two clients out of ten; a robust rule that tolerates two is not."""
    attacked = small.but(attack="scaled-update", rounds=6)
    assert simulate(attacked).last.accuracy < 0.3
    for strategy in ("krum", "multi-krum", "median", "trimmed-mean"):
        history = simulate(attacked.but(strategy=strategy))
        assert history.last.accuracy > 0.5, strategy


def test_a_selecting_rule_names_the_attackers(small):
    history = simulate(small.but(attack="scaled-update", strategy="multi-krum"))
    rates = history.rounds()
    assert (rates["true_positive_rate"][1:] == 1).all()
    assert (rates["false_positive_rate"][1:] == 0).all()
    trust = history.trust()
    assert trust[trust["malicious"]]["trust"].sum() == 0
    assert trust.groupby("round")["trust"].sum().tolist() == pytest.approx([1.0] * 3)


def test_a_backdoor_opens_and_leaves_the_rest_alone(small):
    scenario = small.but(train_samples=0, clients=5, malicious=0.4, rounds=8, attack="backdoor")
    history = simulate(scenario)
    assert history.last.attack_success_rate > 0.8
    assert history.records[0].attack_success_rate < 0.5
    assert history.last.accuracy > 0.8


def test_a_targeted_flip_hits_its_source(small):
    scenario = small.but(
        train_samples=0,
        test_samples=0,
        clients=5,
        malicious=0.4,
        rounds=8,
        attack="label-flip(mode=targeted, source=1, target=7)",
    )
    attacked, clean = simulate(scenario), simulate(scenario.but(attack="none"))
    damage = np.array(clean.last.per_class_accuracy) - np.array(attacked.last.per_class_accuracy)
    assert damage.argmax() == 1
    assert damage[1] > 0.15
    assert attacked.last.source_to_target_rate == pytest.approx(
        attacked.last.counts[1, 7] / attacked.last.counts[1].sum()
    )
