"""When attackers attack, and that a node outside its schedule is honest."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from threats import attacked_by, but, records

from clients.attacks.base import Attack, AttackCard, NoAttack
from clients.training.batch import train_clients
from clients.training.trainer import Trainer
from fedpoison.errors import ScenarioError
from fedpoison.federation.federation import Federation
from fedpoison.scenario.schedules import SCHEDULES, read_schedule
from fedpoison.simulation.run import run_federation, simulate

ROUNDS = range(1, 61)
SPECS = [
    *SCHEDULES,
    "window(start=3, stop=8, every=2)",
    "window(start=5)",
    "window(every=7)",
    "once(round=5)",
    "sleeper(until=10)",
    "rotating(every=5)",
    "rotating(every=3, start=4, stop=20)",
]


@pytest.mark.parametrize("spec", SPECS)
def test_the_laws(spec):
    schedule, again = read_schedule(spec).value, read_schedule(spec).value
    assert dataclasses.is_dataclass(schedule)
    assert schedule == again
    assert hash(schedule) == hash(again)
    forwards = [(schedule.active(number), schedule.rotation(number)) for number in ROUNDS]
    backwards = [(again.active(number), again.rotation(number)) for number in reversed(ROUNDS)]
    assert forwards == backwards[::-1]  # the round alone decides, not what was asked before
    turns = [turn for _, turn in forwards]
    assert all(isinstance(active, bool) for active, _ in forwards)
    assert set(turns) == {None} or all(isinstance(turn, int) for turn in turns)
    if turns[0] is not None:
        assert turns == sorted(turns)
        assert turns[0] >= 0


@pytest.mark.parametrize(
    ("spec", "rounds"),
    [
        ("always", list(range(1, 61))),
        ("window(start=3, stop=8, every=2)", [3, 5, 7]),
        ("window(start=3, stop=7, every=2)", [3, 5, 7]),
        ("window(start=58)", [58, 59, 60]),
        ("window(every=20)", [1, 21, 41]),
        ("once(round=5)", [5]),
        ("once", [1]),
        ("sleeper(until=59)", [59, 60]),
        ("rotating(every=5)", list(range(1, 61))),
        ("rotating(every=5, start=4, stop=6)", [4, 5, 6]),
    ],
)
def test_the_rounds_of_each(spec, rounds):
    schedule = read_schedule(spec).value
    assert [number for number in ROUNDS if schedule.active(number)] == rounds


def test_a_rotating_group_is_drawn_anew_every_so_many_rounds():
    plain, late = read_schedule("rotating(every=4)").value, read_schedule("rotating(every=2, start=3)").value
    assert [plain.rotation(number) for number in range(1, 10)] == [0, 0, 0, 0, 1, 1, 1, 1, 2]
    assert [late.rotation(number) for number in range(1, 8)] == [0, 0, 0, 0, 1, 1, 2]


def test_the_registry_is_sorted_and_spells_what_it_reads():
    assert list(SCHEDULES) == sorted(SCHEDULES)
    for spec in SPECS:
        assert read_schedule(read_schedule(spec)).value == read_schedule(spec).value
    assert read_schedule("window( stop = none, start = 1 )") == "window"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("windw(start=3)", "unknown schedule 'windw': did you mean 'window'"),
        ("window(begin=3)", "unknown parameter of window 'begin'.*Choose from every, start, stop"),
        ("window(start=0)", "start: got 0, expected 1 or more"),
        ("window(every=0)", "every: got 0, expected 1 or more"),
        ("window(start=5, stop=4)", "stop: got round 4, expected at least start, round 5"),
        ("once(round=0)", "round: got 0"),
        ("sleeper(until=0)", "until: got 0"),
        ("rotating(every=0)", "every: got 0"),
        ("rotating(start=9, stop=3)", "stop: got round 3"),
        ("always(start=1)", "always has no parameters"),
        ("window(start=soon)", "start: .*valid integer.*got 'soon'"),
    ],
)
def test_what_is_wrong_is_said_with_the_remedy(spec, words):
    with pytest.raises(ScenarioError, match=words):
        read_schedule(spec)


@pytest.mark.parametrize("attack", ["label-flip", "backdoor", "scaled-update", "gaussian-update"])
def test_a_node_outside_its_schedule_trains_bit_for_bit_as_an_honest_one(small, digits, attack):
    scenario = small.replace(momentum=0.9, persistent_momentum=True)
    honest = Federation(scenario, digits)
    dormant = Federation(scenario.replace(attack=attack, schedule="window(start=2, stop=2)"), digits)
    trainer = Trainer(honest.model(), scenario.training)
    client_id = min(honest.selection.malicious(1))
    memories = [{}, {}]
    for number in (1, 3):
        pair = []
        for federation, memory in zip((honest, dormant), memories, strict=True):
            job = federation.job(client_id, number, federation.initial, None, memory)
            assert isinstance(job.attack, NoAttack)
            (trained,) = train_clients(trainer, [job])
            pair.append(trained)
        assert torch.equal(pair[0].weights, pair[1].weights)
        assert (pair[0].loss, pair[0].examples) == (pair[1].loss, pair[1].examples)
    assert torch.equal(memories[0]["momentum"], memories[1]["momentum"])
    assert not isinstance(dormant.job(client_id, 2, dormant.initial, None, {}).attack, NoAttack)


@pytest.mark.parametrize("attack", ["backdoor+scaled-update", "gaussian-update", "ipm"])
def test_a_run_in_which_the_attackers_sleep_is_the_clean_run(small, attack):
    asleep = simulate(small.replace(attack=attack, schedule="sleeper(until=4)", goal="backdoor"))
    assert records(asleep) == records(simulate(small.replace(goal="backdoor")))
    assert [group.acted for record in asleep.records[1:] for group in record.training.groups] == [False] * 3


def test_until_the_first_attack_the_run_is_the_clean_one(small):
    late = records(simulate(small.replace(attack="scaled-update", schedule="once(round=2)")))
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
    federation = Federation(small.replace(attack="label-flip", schedule="rotating"), digits)
    for number in range(1, 6):
        for client_id in range(10):
            attack = federation.job(client_id, number, federation.initial, None, {}).attack
            assert isinstance(attack, NoAttack) == (client_id not in federation.selection.malicious(number))


def test_only_nodes_that_attack_are_reminded_of_the_last_model(small):
    @dataclass(frozen=True, kw_only=True)
    class Looks(Attack):
        card: ClassVar = AttackCard(paper="-")

        def train(self, trainer, samples, context):
            seen.append((context.round, context.previous_model is not None))
            return super().train(trainer, samples, context)

    seen = []
    run_federation(Federation.load(attacked_by(small.replace(schedule="window(start=2)"), Looks())))
    assert sorted(seen) == [(2, True)] * 2 + [(3, True)] * 2
