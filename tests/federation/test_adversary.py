"""The attacker between clients and server: what it sees, what it sends, and what the records say of it."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from threats import TWO, attacked_by, but

from clients.attacks.base import Attack, AttackCard, Knowledge
from fedpoison.federation.federation import Federation
from fedpoison.results.round import Round
from fedpoison.results.store import StoredRun
from fedpoison.simulation.run import run_federation, simulate
from strategies.rules.median import Median


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
    return run_federation(Federation.load(attacked_by(scenario, attack))), attack.seen


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
        assert (context.rule is not None) == (context.trust is not None) == kind.card.knows_rule
        assert (context.previous_model is None) == (context.round == 1)


def test_the_rule_that_is_handed_over_is_the_servers(small):
    history, seen = witnessed(small.replace(strategy="median"), OmniscientWitness)
    context = seen[0][2]
    updates = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(context.rule(updates), np.median(updates, axis=0), rtol=1e-6)
    np.testing.assert_array_equal(context.trust(updates), Median()(updates).trust)
    assert history.last.accuracy > 0.5


def test_sending_the_own_update_changes_nothing_but_rounding(small):
    clean = simulate(small)
    history, _ = witnessed(small, ColludingWitness)
    for mine, theirs in zip(history.records, clean.records, strict=True):
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-4)


def test_a_scaled_update_has_the_norm_that_it_should(small):
    clean, scaled = (
        simulate(small.replace(rounds=1)),
        simulate(small.replace(rounds=1, attack="scaled-update")),
    )
    malicious = scaled.last.training.malicious
    for client_id, norm in scaled.last.training.update_norms.items():
        factor = 10 if client_id in malicious else 1
        assert norm == pytest.approx(factor * clean.last.training.update_norms[client_id], rel=1e-3)


def test_the_damage_and_the_defence(small):
    """An average is owned by two clients out of ten; a robust rule that tolerates two is not."""
    attacked = small.replace(attack="scaled-update", rounds=6)
    assert simulate(attacked).last.accuracy < 0.3
    for strategy in ("krum", "multi-krum", "median", "trimmed-mean"):
        history = simulate(attacked.replace(strategy=strategy))
        assert history.last.accuracy > 0.5, strategy


def test_a_selecting_rule_names_the_attackers(small):
    history = simulate(small.replace(attack="scaled-update", strategy="multi-krum"))
    rates = history.to_frame()
    assert (rates["true_positive_rate"][1:] == 1).all()
    assert (rates["false_positive_rate"][1:] == 0).all()
    trust = history.trust()
    assert trust[trust["malicious"]]["trust"].sum() == 0
    assert trust.groupby("round")["trust"].sum().tolist() == pytest.approx([1.0] * 3)


def test_a_backdoor_opens_and_leaves_the_rest_alone(small):
    scenario = small.replace(train_samples=0, clients=5, malicious=0.4, rounds=8, attack="backdoor")
    history = simulate(scenario)
    assert history.last.attack_success_rate > 0.8
    assert history.records[0].attack_success_rate < 0.5
    assert history.last.accuracy > 0.8


def test_a_targeted_flip_hits_its_source(small):
    scenario = small.replace(
        train_samples=0,
        test_samples=0,
        clients=5,
        malicious=0.4,
        rounds=8,
        attack="label-flip(mode=targeted, source=1, target=7)",
    )
    attacked, clean = simulate(scenario), simulate(scenario.replace(attack="none"))
    damage = np.array(clean.last.per_class_accuracy) - np.array(attacked.last.per_class_accuracy)
    assert damage.argmax() == 1
    assert damage[1] > 0.15
    assert attacked.last.source_to_target_rate == pytest.approx(
        attacked.last.counts[1, 7] / attacked.last.counts[1].sum()
    )


@dataclass(frozen=True)
class Observer(Attack):
    """Writes down what it is handed, and sends a row of its number."""

    number: int
    seen: list

    card: ClassVar = AttackCard(paper="-", knowledge=Knowledge.COLLUDING)

    def __hash__(self):
        return self.number

    def craft(self, own, seen, context):
        self.seen.append((own.clone(), None if seen is None else seen.clone(), context))
        return torch.full_like(own, float(self.number))


def observed(scenario):
    """Run the scenario with a witness in place of each group's attack; return what each was handed."""
    notes = [[] for _ in scenario.attackers]
    witnesses = [Observer(index, seen) for index, seen in enumerate(notes)]
    run_federation(Federation.load(attacked_by(scenario, *witnesses)))
    return notes


@pytest.mark.parametrize(
    ("knowledge", "calls", "own", "honest"),
    [(None, 1, 2, None), ("own", 2, 1, None), ("colluding", 1, 2, None), ("omniscient", 1, 2, 8)],
)
def test_knowledge_can_be_given_in_place_of_what_the_card_declares(small, knowledge, calls, own, honest):
    (seen,) = observed(small.replace(rounds=2, knowledge=knowledge))
    assert len(seen) == 2 * calls
    assert {(len(mine), None if others is None else len(others)) for mine, others, _ in seen} == {
        (own, honest)
    }


def test_what_alie_sends_depends_on_what_it_sees(small):
    scenario = small.replace(clients=9, malicious_nodes=(0, 4), attack="alie(z=1)", rounds=1)
    sent = {
        knowledge: simulate(scenario.replace(knowledge=knowledge)).last.training.distances[0]
        for knowledge in (None, "own", "colluding", "omniscient")
    }
    assert sent[None] == sent["colluding"]
    assert len(set(sent.values())) == 3


def test_groups_see_neither_each_other_nor_what_the_other_sends(small):
    groups = [
        "ipm: nodes=(0, 1), knowledge=omniscient",
        "ipm: nodes=(2, 3, 4), knowledge=omniscient",
        "ipm: nodes=(5), schedule=sleeper(until=9)",
        "ipm: nodes=(6), schedule=window(start=2), knowledge=own",
    ]
    first, second, asleep, late = observed(but(small, rounds=2, groups=groups))
    assert not asleep
    for (mine, honest, context), (theirs, also, other) in zip(first, second, strict=True):
        assert (len(mine), len(theirs)) == (2, 3)
        assert (context.client_ids, other.client_ids) == ((0, 1), (2, 3, 4))
        assert (context.malicious, other.malicious, context.clients) == (2, 3, 10)
        assert len(honest) == (5 if context.round == 1 else 4)  # a sleeping node is honest
        assert torch.equal(honest, also)
        assert not any(torch.equal(row, sent) for row in honest for sent in theirs)
    assert [(context.round, context.client_ids, seen) for _, seen, context in late] == [(2, (6,), None)]
    assert late[0][2].previous_model is not None  # remembered through the round in which it slept


def test_equal_groups_have_streams_and_memories_of_their_own(small):
    groups = [
        f"gaussian-update: nodes={client_ids}, knowledge=colluding" for client_ids in ("(0, 1)", "(2, 3)")
    ]
    first, second = observed(but(small, rounds=1, groups=groups))
    draws = [torch.rand(3, generator=notes[0][2].generator).tolist() for notes in (first, second)]
    assert draws[0] != draws[1]
    assert first[0][2].memory is not second[0][2].memory


def test_the_record_names_who_was_malicious_and_what_acted(small, tmp_path):
    scenario = but(small, rounds=3, participation=0.8, groups=TWO)
    history = simulate(scenario, out=tmp_path)
    federation = Federation.load(scenario)
    assert history.records[0].training.groups == []
    for record in history.records[1:]:
        training, number = record.training, record.round
        assert training.sampled == federation.selection.sample(number)
        assert training.malicious == sorted(federation.selection.malicious(number) & set(training.sampled))
        assert [group.attack for group in training.groups] == ["label-flip", "gaussian-update(std=0.5)"]
        assert [set(group.nodes) for group in training.groups] == [
            pool & set(training.sampled) for pool in federation.selection.members_by_group(number)
        ]
        assert [group.acted for group in training.groups] == [number > 1, True]
        assert training.acting == sorted(federation.selection.attacking(number) & set(training.sampled))
        assert Round.from_json(record.to_json()) == record
    assert StoredRun(history.path).history.records == list(history.records)


def test_distances_are_from_the_honest_mean(small, monkeypatch):
    from fedpoison.federation import server_strategy as host  # noqa: PLC0415  # patched here

    taken = []

    def spied(updates, client_ids, honest):
        taken.append((dict(zip(client_ids, updates.double().numpy(), strict=True)), sorted(honest)))
        return deviations(updates, client_ids, honest)

    deviations = host.update_statistics
    monkeypatch.setattr(host, "update_statistics", spied)
    history = simulate(but(small, rounds=2, groups=TWO))
    for record, (updates, honest) in zip(history.records[1:], taken, strict=True):
        training = record.training
        assert honest == sorted(set(range(10)) - set(training.acting))
        mean = sum(updates[client_id] for client_id in honest) / len(honest)
        for client_id, update in updates.items():
            norm, length = (update**2).sum() ** 0.5, (mean**2).sum() ** 0.5
            assert training.update_norms[client_id] == pytest.approx(norm, rel=1e-5)
            assert training.distances[client_id] == pytest.approx(
                ((update - mean) ** 2).sum() ** 0.5, rel=1e-4
            )
            assert training.cosines[client_id] == pytest.approx(update @ mean / (norm * length), abs=1e-5)


def test_nothing_is_compared_where_nobody_is_honest(small):
    training = simulate(small.replace(rounds=1, malicious=1.0, attack="sign-flip")).last.training
    assert training.distances == training.cosines == {}
    assert len(training.update_norms) == 10
