"""What attackers see of the honest, of each other and of earlier rounds."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from threats import attacked_by, but

from clients.attack import Attack, AttackCard, Knowledge
from fedpoison.fleet import Federation
from fedpoison.simulation import run, simulate


@dataclass(frozen=True)
class Witness(Attack):
    """Writes down what it is handed, and sends a row of its number."""

    number: int
    seen: list

    card: ClassVar = AttackCard(paper="-", knowledge=Knowledge.COLLUDING)

    def __hash__(self):
        return self.number

    def craft(self, own, seen, context):
        self.seen.append((own.clone(), None if seen is None else seen.clone(), context))
        return torch.full_like(own, float(self.number))


def witnessed(scenario):
    """Run the scenario with a witness in place of each group's attack; return what each was handed."""
    notes = [[] for _ in scenario.attackers]
    witnesses = [Witness(index, seen) for index, seen in enumerate(notes)]
    run(Federation.load(attacked_by(scenario, *witnesses)))
    return notes


@pytest.mark.parametrize(
    ("knowledge", "calls", "own", "honest"),
    [(None, 1, 2, None), ("own", 2, 1, None), ("colluding", 1, 2, None), ("omniscient", 1, 2, 8)],
)
def test_knowledge_can_be_given_in_place_of_what_the_card_declares(small, knowledge, calls, own, honest):
    (seen,) = witnessed(small.but(rounds=2, knowledge=knowledge))
    assert len(seen) == 2 * calls
    assert {(len(mine), None if others is None else len(others)) for mine, others, _ in seen} == {
        (own, honest)
    }


def test_what_alie_sends_depends_on_what_it_sees(small):
    scenario = small.but(clients=9, malicious_nodes=(0, 4), attack="alie(z=1)", rounds=1)
    sent = {
        knowledge: simulate(scenario.but(knowledge=knowledge)).last.training.distances[0]
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
    first, second, asleep, late = witnessed(but(small, rounds=2, groups=groups))
    assert not asleep
    for (mine, honest, context), (theirs, also, other) in zip(first, second, strict=True):
        assert (len(mine), len(theirs)) == (2, 3)
        assert (context.nodes, other.nodes) == ((0, 1), (2, 3, 4))
        assert (context.malicious, other.malicious, context.clients) == (2, 3, 10)
        assert len(honest) == (5 if context.round == 1 else 4)  # a sleeping node is honest
        assert torch.equal(honest, also)
        assert not any(torch.equal(row, sent) for row in honest for sent in theirs)
    assert [(context.round, context.nodes, seen) for _, seen, context in late] == [(2, (6,), None)]
    assert late[0][2].previous_model is not None  # remembered through the round in which it slept


def test_equal_groups_have_streams_and_memories_of_their_own(small):
    groups = [f"gaussian-update: nodes={nodes}, knowledge=colluding" for nodes in ("(0, 1)", "(2, 3)")]
    first, second = witnessed(but(small, rounds=1, groups=groups))
    draws = [torch.rand(3, generator=notes[0][2].generator).tolist() for notes in (first, second)]
    assert draws[0] != draws[1]
    assert first[0][2].memory is not second[0][2].memory
