"""Who attacks, when, and with what knowledge: from the scenario to the records."""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from clients.attack import Attack, Card, Knowledge
from clients.cohort import train_cohort
from clients.none import NoAttack
from clients.training import Trainer
from fedpoison.attackers import Attackers
from fedpoison.errors import ScenarioError
from fedpoison.fleet import Fleet
from fedpoison.groups import Group
from fedpoison.rounds import Round
from fedpoison.run_config import from_run_config, to_run_config
from fedpoison.scenario import Scenario
from fedpoison.simulation import prepare, run, simulate
from fedpoison.store import RunFolder
from fedpoison.twin import clean, simulate_twin

TWO = (
    "label-flip: count=1, schedule=window(start=2)",
    "gaussian-update(std=0.5): nodes=(1, 4), knowledge=colluding",
)


def but(scenario, **changes):
    """Return the scenario with groups in place of the share that the small one has."""
    return scenario.but(**{"malicious": 0.2, "attack": "none"} | changes)


def records(history):
    """Return the records as JSON, without their clocks and without who was malicious."""
    lines = [json.loads(record.to_json()) for record in history.records]
    for line in lines:
        for name in ("seconds", "groups", "malicious", "distances", "cosines"):
            del line["training"][name]
    return lines


# What a scenario says.


def test_a_group_is_read_from_a_text_or_a_table():
    spelt = Scenario(groups=["alie(z=1.5): count=3, schedule=window(start=3, stop=8), knowledge=omniscient"])
    table = {
        "attack": "alie( z = 1.5 )",
        "count": 3,
        "schedule": "window(stop=8, start=3)",
        "knowledge": "omniscient",
    }
    assert spelt == Scenario(groups=[table]) == Scenario(groups=(Group(**table),))
    assert spelt.run_id == Scenario(groups=[table]).run_id
    assert spelt.groups[0].schedule == "window(start=3, stop=8)"


def test_groups_survive_toml_and_run_config():
    scenario = Scenario(clients=20, participation=0.5, groups=[*TWO, "backdoor+ipm: share=0.1, per_round=1"])
    assert Scenario.parse(tomllib.loads(scenario.to_toml())) == scenario
    config = to_run_config(scenario)
    assert all(isinstance(value, int | float | str) for value in config.values())
    assert from_run_config(config)[0] == scenario
    assert [Group.read(group.spell()) for group in scenario.groups] == list(scenario.groups)


def test_the_flat_fields_survive_too():
    scenario = Scenario(
        malicious_count=7,
        participation=0.2,
        malicious_per_round=2,
        attack="backdoor",
        schedule="once(round=4)",
        knowledge="own",
        goal="label-flip(mode=targeted)",
    )
    assert Scenario.parse(tomllib.loads(scenario.to_toml())) == scenario
    assert from_run_config(to_run_config(scenario))[0] == scenario


def test_what_is_unset_is_not_written():
    plain, grouped = Scenario().to_toml(), Scenario(groups=TWO).to_toml()
    for name in ("groups", "knowledge", "malicious_count", "malicious_nodes", "malicious_per_round", "goal"):
        assert name not in plain
    assert '\nattack = "none"' not in grouped
    assert "\nmalicious" not in grouped
    assert [set(group) for group in tomllib.loads(grouped)["groups"]] == [
        {"attack", "count", "schedule"},
        {"attack", "nodes", "knowledge"},
    ]


def test_the_order_of_listed_nodes_is_no_matter():
    one, two = (Scenario(groups=[f"alie: nodes={nodes}"]) for nodes in ("(4, 1, 1)", "(1, 4)"))
    assert one == two


def test_one_group_is_what_the_flat_fields_say(small):
    flat = small.but(attack="gaussian-update", schedule="window(start=2)", knowledge="own", tolerated=2)
    grouped = but(small, groups=[flat.attackers[0].spell()], tolerated=2)
    assert flat.attackers == grouped.attackers
    ours, theirs = simulate(flat), simulate(grouped)
    assert records(ours) == records(theirs)
    assert [record.training.groups for record in ours.records] == [
        record.training.groups for record in theirs.records
    ]


def test_the_rule_is_told_of_all_groups():
    assert Scenario(groups=["alie: count=3", "ipm: share=0.1"]).byzantine == 13
    assert Scenario(malicious_count=7).byzantine == 7
    by_chance = Scenario(groups=["alie: count=15", "ipm: count=16"], participation=0.1)
    assert by_chance.byzantine == 4  # 3.1 on average
    fixed = Scenario(groups=["alie: count=50, per_round=2", "ipm: count=25"], participation=0.1)
    assert fixed.byzantine == 2 + 4  # half of the 8 others


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"groups": ["alie: nodes=(1, 2)", "ipm: nodes=(2, 3)"]}, r"nodes \[2\] are in more than one"),
        ({"groups": ["alie: share=0.7", "ipm: share=0.4"]}, r"shares add up to 1.1"),
        ({"groups": ["alie: count=70", "ipm: nodes=3, schedule=always", "ipm: count=30"]}, "got 101"),
        ({"groups": ["alie: share=1.5"]}, "share: .*less than or equal to 1, got '1.5'"),
        ({"groups": ["alie: nodes=(99, 100)"]}, r"got \[100\] in a fleet of 100; wanted 0 to 99"),
        ({"groups": ["alie: count=1, share=0.1"]}, "got share and count, wanted exactly one"),
        ({"groups": ["alie: schedule=once"]}, "got no size, wanted exactly one"),
        ({"groups": ["alie"]}, "wanted an attack and its size, like"),
        ({"groups": ["aile: count=1"]}, "did you mean 'alie'"),
        ({"groups": ["alie: count=1, schedule=windw"]}, "unknown schedule 'windw': did you mean 'window'"),
        (
            {"groups": ["alie: count=1, shedule=once"]},
            "setting of a group 'shedule': did you mean 'schedule'",
        ),
        ({"groups": [{"attack": "alie", "cuont": 1}]}, "did you mean 'count'"),
        ({"groups": ["alie: count=1, knowledge=all"]}, "knowledge: .*'own', 'colluding' or 'omniscient'"),
        ({"groups": ["alie: count=1"], "attack": "ipm"}, "got attack beside them; say it in the groups"),
        ({"groups": ["alie: count=1"], "malicious": 0.3}, "got malicious beside them"),
        (
            {"groups": [f"{name}: count=1, schedule=rotating" for name in ("alie", "ipm")]},
            "more than one rot",
        ),
        ({"malicious_nodes": (1,), "schedule": "rotating"}, "a rotating group is drawn anew"),
        ({"malicious_nodes": (1,), "malicious_count": 1}, "choose one"),
        ({"malicious_count": 101}, "got 101 malicious nodes in a fleet of 100"),
        ({"malicious_per_round": 21, "participation": 0.5}, "got 21 of a group of 20 nodes"),
        ({"malicious_per_round": 11, "participation": 0.1}, "got 11 of the 10 nodes that train"),
        ({"malicious_per_round": 3}, "the others, 97, have to be found among 80; change participation"),
        ({"schedule": "sleper"}, "did you mean 'sleeper'"),
        ({"goal": "bakdoor"}, "did you mean 'backdoor'"),
    ],
)
def test_impossible_threats_are_refused_with_the_reason(fields, words):
    with pytest.raises(ScenarioError, match=words):
        Scenario.parse(fields)


def test_a_goal_without_a_target_is_refused(small, digits):
    with pytest.raises(ScenarioError, match="goal: label-flip has no target"):
        Fleet(small.but(goal="label-flip"), digits)
    with pytest.raises(ScenarioError, match="attack backdoor\\(target=12\\): target: got class 12"):
        Fleet(but(small, groups=["alie: count=1", "backdoor(target=12): count=1"]), digits)


def test_every_example_in_the_docs_is_a_scenario(digits):
    text = (Path(__file__).parents[1] / "docs" / "threat-model.md").read_text()
    examples = [block.split("```")[0] for block in text.split("```toml\n")[1:]]
    assert len(examples) >= 4
    for example in examples:
        scenario = Scenario.parse(tomllib.loads(example))
        fleet = Fleet(scenario.but(dataset="digits"), digits)
        assert scenario.threat != "none"
        assert not fleet.idle


# Who is malicious.


def test_groups_do_not_overlap_and_have_their_size(small, digits):
    groups = ["alie: share=0.2, schedule=rotating(every=2)", "ipm: nodes=(0, 1, 2)", "sign-flip: count=20"]
    fleet = Fleet(but(small, clients=40, groups=groups), digits)
    for number in range(1, 9):
        rotating, listed, fixed = fleet.pools(number)
        assert (len(rotating), listed, len(fixed)) == (8, {0, 1, 2}, 20)
        assert fixed == fleet.pools(1)[2]
        assert len(rotating | listed | fixed) == 31
        assert fleet.malicious(number) == rotating | listed | fixed
    drawn = [fleet.pools(number)[0] for number in range(1, 9)]
    assert drawn[::2] == drawn[1::2]
    assert len(set(drawn)) == 4


def test_identities_belong_to_the_seed(small, digits):
    scenario = small.but(clients=40, schedule="rotating(every=3)")
    one, two = (Fleet(scenario.but(attack=attack), digits) for attack in ("alie", "label-flip"))
    assert [one.malicious(number) for number in range(1, 8)] == [
        two.malicious(number) for number in range(1, 8)
    ]
    other = Fleet(scenario.but(seed=1), digits)
    assert any(one.malicious(number) != other.malicious(number) for number in range(1, 8))


def test_by_chance_the_number_in_a_round_varies_and_fixed_it_does_not(small, digits):
    scenario = small.but(clients=40, participation=0.25, attack="alie")
    chance, fixed = Fleet(scenario, digits), Fleet(scenario.but(malicious_per_round=2), digits)
    numbers = [
        [len(fleet.malicious(number) & set(fleet.sample(number))) for number in range(1, 101)]
        for fleet in (chance, fixed)
    ]
    assert len(set(numbers[0])) > 2
    assert sum(numbers[0]) / 100 == pytest.approx(2, abs=0.3)
    assert set(numbers[1]) == {2}
    for number in range(1, 101):
        sample = fixed.sample(number)
        assert sample == sorted(set(sample))
        assert len(sample) == 10
    assert len({node for number in range(1, 101) for node in fixed.sample(number)}) == 40


def test_a_fixed_number_holds_for_each_group_while_it_sleeps_and_rotates(small, digits):
    groups = [
        "alie: count=8, per_round=3, schedule=rotating(every=2)",
        "ipm: share=0.2, per_round=1, schedule=sleeper(until=50)",
        "sign-flip: count=4",
    ]
    fleet = Fleet(but(small, clients=40, participation=0.25, groups=groups), digits)
    for number in range(1, 30):
        sample = set(fleet.sample(number))
        rotating, sleeping, _ = fleet.pools(number)
        assert (len(sample), len(sample & rotating), len(sample & sleeping)) == (10, 3, 1)
        assert fleet.acting(number).isdisjoint(sleeping)


# A node outside its schedule is honest.


@pytest.mark.parametrize("attack", ["label-flip", "backdoor", "scaled-update", "gaussian-update"])
def test_a_node_outside_its_schedule_trains_bit_for_bit_as_an_honest_one(small, digits, attack):
    scenario = small.but(momentum=0.9, persistent_momentum=True)
    honest = Fleet(scenario, digits)
    dormant = Fleet(scenario.but(attack=attack, schedule="window(start=2, stop=2)"), digits)
    trainer = Trainer(honest.model(), scenario.training)
    node = min(honest.malicious(1))
    memories = [{}, {}]
    for number in (1, 3):
        pair = []
        for fleet, memory in zip((honest, dormant), memories, strict=True):
            job = fleet.job(node, number, fleet.initial, None, memory)
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
    fleet = Fleet(small.but(attack="label-flip", schedule="rotating"), digits)
    for number in range(1, 6):
        for node in range(10):
            attack = fleet.job(node, number, fleet.initial, None, {}).attack
            assert isinstance(attack, NoAttack) == (node not in fleet.malicious(number))


def test_only_nodes_that_attack_are_reminded_of_the_last_model(small):
    @dataclass(frozen=True, kw_only=True)
    class Looks(Attack):
        card: ClassVar = Card(paper="-")

        def train(self, trainer, samples, context):
            seen.append((context.round, context.previous_model is not None))
            return super().train(trainer, samples, context)

    seen = []
    fleet = prepare(small.but(schedule="window(start=2)"))
    fleet.__dict__["attack"] = Looks()
    run(fleet)
    assert sorted(seen) == [(2, True)] * 2 + [(3, True)] * 2


# What attackers see.


@dataclass(frozen=True)
class Witness(Attack):
    """Writes down what it is handed, and sends a row of its number."""

    number: int
    seen: list

    card: ClassVar = Card(paper="-", knowledge=Knowledge.COLLUDING)

    def __hash__(self):
        return self.number

    def craft(self, own, seen, context):
        self.seen.append((own.clone(), None if seen is None else seen.clone(), context))
        return torch.full_like(own, float(self.number))


def witnessed(scenario):
    """Run the scenario with a witness in place of each group's attack; return what each was handed."""
    fleet = prepare(scenario)
    notes = [[] for _ in scenario.attackers]
    fleet.__dict__["attackers"] = tuple(
        Attackers.of(group, Witness(index, notes[index])) for index, group in enumerate(scenario.attackers)
    )
    run(fleet)
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


# What the records say.


def test_the_record_names_who_was_malicious_and_what_acted(small, tmp_path):
    scenario = but(small, rounds=3, participation=0.8, groups=TWO)
    history = simulate(scenario, out=tmp_path)
    fleet = prepare(scenario)
    assert history.records[0].training.groups == []
    for record in history.records[1:]:
        training, number = record.training, record.round
        assert training.sampled == fleet.sample(number)
        assert training.malicious == sorted(fleet.malicious(number) & set(training.sampled))
        assert [group.attack for group in training.groups] == ["label-flip", "gaussian-update(std=0.5)"]
        assert [set(group.nodes) for group in training.groups] == [
            pool & set(training.sampled) for pool in fleet.pools(number)
        ]
        assert [group.acted for group in training.groups] == [number > 1, True]
        assert training.acting == sorted(fleet.acting(number) & set(training.sampled))
        assert Round.from_json(record.to_json()) == record
    assert RunFolder(history.path).history().records == list(history.records)


def test_distances_are_from_the_honest_mean(small, monkeypatch):
    from fedpoison import host  # noqa: PLC0415  # patched here

    taken = []

    def spied(updates, nodes, honest):
        taken.append((dict(zip(nodes, updates.double().numpy(), strict=True)), sorted(honest)))
        return deviations(updates, nodes, honest)

    deviations = host.deviations
    monkeypatch.setattr(host, "deviations", spied)
    history = simulate(but(small, rounds=2, groups=TWO))
    for record, (updates, honest) in zip(history.records[1:], taken, strict=True):
        training = record.training
        assert honest == sorted(set(range(10)) - set(training.acting))
        mean = sum(updates[node] for node in honest) / len(honest)
        for node, update in updates.items():
            norm, length = (update**2).sum() ** 0.5, (mean**2).sum() ** 0.5
            assert training.update_norms[node] == pytest.approx(norm, rel=1e-5)
            assert training.distances[node] == pytest.approx(((update - mean) ** 2).sum() ** 0.5, rel=1e-4)
            assert training.cosines[node] == pytest.approx(update @ mean / (norm * length), abs=1e-5)


def test_nothing_is_compared_where_nobody_is_honest(small):
    training = simulate(small.but(rounds=1, malicious=1.0, attack="sign-flip")).last.training
    assert training.distances == training.cosines == {}
    assert len(training.update_norms) == 10


# What is said before a run.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attack": "alie"}, "alie does nothing: z = 0 for 2 of 10 clients"),
        ({"attack": "backdoor(share=0)"}, "share is 0"),
        ({"attack": "ipm", "malicious": 0.04}, "none of the 10 nodes is malicious"),
        ({"attack": "ipm", "schedule": "sleeper(until=4)"}, "sleeper(until=4) has no round among the 3"),
        ({"groups": ["label-flip: count=1", "alie: count=2"]}, "alie does nothing: z = 0"),
    ],
)
def test_an_idle_attack_is_told_before_the_first_round(small, tmp_path, changes, words):
    told = []
    history = simulate(
        small.but(**changes, rounds=3, test_samples=50),
        out=tmp_path,
        notify=told.append,
        on_round=lambda record: told.append(record.round),
    )
    assert words in told[0]
    assert told[1:] == [0, 1, 2, 3]
    environment = json.loads((history.path / "environment.json").read_text())
    assert environment["warnings"] == told[:1]


@pytest.mark.parametrize("attack", ["none", "label-flip", "alie(z=1)", "backdoor+alie"])
def test_nothing_is_told_of_an_attack_that_acts(small, digits, attack):
    assert Fleet(small.but(attack=attack), digits).idle == []


def test_without_a_listener_the_warning_is_logged(small, caplog):
    simulate(small.but(attack="alie", rounds=1))
    assert "z = 0 for 2 of 10 clients" in caplog.text


# The clean twin.


def test_the_twin_asks_the_same_nodes_and_measures_the_same_goal(small, tmp_path):
    groups = [
        "backdoor+scaled-update: count=3, per_round=1, schedule=rotating(every=2), knowledge=own",
        "label-flip: count=1, schedule=once(round=2)",
    ]
    scenario = but(small, clients=12, participation=0.5, groups=groups)
    attacked = simulate(scenario, out=tmp_path)
    twin = simulate_twin(scenario, out=tmp_path)
    assert twin.scenario.goal == "backdoor"
    assert twin.scenario.threat == "none and none"
    assert twin.records[0].attack_success_rate == attacked.records[0].attack_success_rate
    for mine, theirs in zip(attacked.records[1:], twin.records[1:], strict=True):
        assert mine.training.sampled == theirs.training.sampled
        assert mine.training.malicious == theirs.training.malicious
        assert theirs.training.acting == []
        assert theirs.attack_success_rate is not None


def test_a_rotating_group_does_not_change_whom_the_twin_asks(small, digits):
    groups = ["alie: count=4, schedule=rotating", "ipm: count=6, per_round=2"]
    scenario = but(small, clients=20, participation=0.5, groups=groups)
    attacked, twin = Fleet(scenario, digits), Fleet(clean(scenario, None), digits)
    for number in range(1, 9):
        assert attacked.sample(number) == twin.sample(number)
        assert attacked.pools(number) == twin.pools(number)


def test_the_twin_is_read_where_the_store_has_it(small, tmp_path):
    scenario = small.but(attack="label-flip")
    plain = simulate(small, out=tmp_path)
    written = (plain.path / "model.safetensors").stat().st_mtime_ns
    twin = simulate_twin(scenario, out=tmp_path)
    assert twin.path == plain.path  # an attack without a target has the plain clean run as its twin
    assert (plain.path / "model.safetensors").stat().st_mtime_ns == written


def test_the_twin_of_a_schedule_is_the_twin_of_all():
    scenario = Scenario(attack="alie", schedule="sleeper(until=5)", knowledge="own")
    assert clean(scenario, None) == Scenario()
    fixed = scenario.but(participation=0.2, malicious_per_round=3, schedule="rotating")
    assert clean(fixed, "backdoor").schedule == "rotating"
