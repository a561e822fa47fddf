"""A node outside its schedule is honest."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from threats import attacked_by, but, records

from clients.attack import Attack, AttackCard, NoAttack
from clients.cohort import train_cohort
from clients.training import Trainer
from fedpoison.fleet import Federation
from fedpoison.simulation import run, simulate


@pytest.mark.parametrize("attack", ["label-flip", "backdoor", "scaled-update", "gaussian-update"])
def test_a_node_outside_its_schedule_trains_bit_for_bit_as_an_honest_one(small, digits, attack):
    scenario = small.but(momentum=0.9, persistent_momentum=True)
    honest = Federation(scenario, digits)
    dormant = Federation(scenario.but(attack=attack, schedule="window(start=2, stop=2)"), digits)
    trainer = Trainer(honest.model(), scenario.training)
    node = min(honest.attackers.malicious(1))
    memories = [{}, {}]
    for number in (1, 3):
        pair = []
        for federation, memory in zip((honest, dormant), memories, strict=True):
            job = federation.job(node, number, federation.initial, None, memory)
            assert isinstance(job.attack, NoAttack)
            (trained,) = train_cohort(trainer, [job])
            pair.append(trained)
        assert torch.equal(pair[0].weights, pair[1].weights)
        assert (pair[0].loss, pair[0].examples) == (pair[1].loss, pair[1].examples)
    assert torch.equal(memories[0]["momentum"], memories[1]["momentum"])
    assert not isinstance(dormant.job(node, 2, dormant.initial, None, {}).attack, NoAttack)


@pytest.mark.parametrize("attack", ["backdoor+scaled-update", "gaussian-update", "ipm"])
def test_a_run_in_which_the_attackers_sleep_is_the_clean_run(small, attack):
    asleep = simulate(small.but(attack=attack, schedule="sleeper(until=4)", goal="backdoor"))
    assert records(asleep) == records(simulate(small.but(goal="backdoor")))
    assert [group.acted for record in asleep.records[1:] for group in record.training.groups] == [False] * 3


def test_until_the_first_attack_the_run_is_the_clean_one(small):
    late = records(simulate(small.but(attack="scaled-update", schedule="once(round=2)")))
    never = records(simulate(small))
    assert late[:2] == never[:2]
    assert late[2] != never[2]


def test_a_sleeping_group_does_not_touch_the_other(small):
    other = "gaussian-update(std=0.5): nodes=(1, 4), knowledge=colluding"
    for sleeper in (
        "ipm: nodes=(2, 3), schedule=sleeper(until=9)",
        "label-flip: nodes=(2, 3), schedule=once(round=9)",
    ):
        alone = simulate(but(small, groups=[other], tolerated=2, strategy="median"))
        beside = simulate(but(small, groups=[sleeper, other], tolerated=2, strategy="median"))
        assert records(alone) == records(beside)


def test_a_node_that_is_rotated_out_is_honest_again(small, digits):
    federation = Federation(small.but(attack="label-flip", schedule="rotating"), digits)
    for number in range(1, 6):
        for node in range(10):
            attack = federation.job(node, number, federation.initial, None, {}).attack
            assert isinstance(attack, NoAttack) == (node not in federation.attackers.malicious(number))


def test_only_nodes_that_attack_are_reminded_of_the_last_model(small):
    @dataclass(frozen=True, kw_only=True)
    class Looks(Attack):
        card: ClassVar = AttackCard(paper="-")

        def train(self, trainer, samples, context):
            seen.append((context.round, context.previous_model is not None))
            return super().train(trainer, samples, context)

    seen = []
    run(Federation.load(attacked_by(small.but(schedule="window(start=2)"), Looks())))
    assert sorted(seen) == [(2, True)] * 2 + [(3, True)] * 2
