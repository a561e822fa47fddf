"""What a scenario says of who attacks, when and with what knowledge, and whom that makes malicious."""

import json
import tomllib

import pytest
from conftest import ROOT
from threats import TWO, but, records

from fedpoison.errors import ScenarioError
from fedpoison.federation.federation import Federation
from fedpoison.federation.messages import from_run_config, to_run_config
from fedpoison.scenario.attackers import AttackerGroup
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.run import simulate


def test_a_group_is_read_from_a_text_or_a_table():
    texts = Scenario(groups=["alie(z=1.5): count=3, schedule=window(start=3, stop=8), knowledge=omniscient"])
    table = {
        "attack": "alie( z = 1.5 )",
        "count": 3,
        "schedule": "window(stop=8, start=3)",
        "knowledge": "omniscient",
    }
    assert texts == Scenario(groups=[table]) == Scenario(groups=(AttackerGroup(**table),))
    assert texts.run_id == Scenario(groups=[table]).run_id
    assert texts.groups[0].schedule == "window(start=3, stop=8)"


def test_groups_survive_toml_and_run_config():
    scenario = Scenario(clients=20, participation=0.5, groups=[*TWO, "backdoor+ipm: share=0.1, per_round=1"])
    assert Scenario.parse(tomllib.loads(scenario.to_toml())) == scenario
    config = to_run_config(scenario)
    assert all(isinstance(value, int | float | str) for value in config.values())
    assert from_run_config(config)[0] == scenario
    assert [AttackerGroup.read(group.to_spec()) for group in scenario.groups] == list(scenario.groups)


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
    one, two = (Scenario(groups=[f"alie: nodes={client_ids}"]) for client_ids in ("(4, 1, 1)", "(1, 4)"))
    assert one == two


def test_one_group_is_what_the_flat_fields_say(small):
    flat = small.replace(attack="gaussian-update", schedule="window(start=2)", knowledge="own", tolerated=2)
    grouped = but(small, groups=[flat.attackers[0].to_spec()], tolerated=2)
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
        (
            {"groups": ["alie: nodes=(1, 2)", "ipm: nodes=(2, 3)"]},
            r"got clients \[2\] in more than one group",
        ),
        ({"groups": ["alie: share=0.7", "ipm: share=0.4"]}, r"sum of shares: 1.1"),
        ({"groups": ["alie: count=70", "ipm: nodes=3, schedule=always", "ipm: count=30"]}, "got 101"),
        ({"groups": ["alie: share=1.5"]}, "share: .*less than or equal to 1, got '1.5'"),
        ({"groups": ["alie: nodes=(99, 100)"]}, r"got \[100\] of 100 clients, expected 0 to 99"),
        ({"groups": ["alie: count=1, share=0.1"]}, "got share and count, expected exactly one"),
        ({"groups": ["alie: schedule=once"]}, "got no size, expected exactly one"),
        ({"groups": ["alie"]}, "expected an attack and a size, as in"),
        ({"groups": ["aile: count=1"]}, "did you mean 'alie'"),
        ({"groups": ["alie: count=1, schedule=windw"]}, "unknown schedule 'windw': did you mean 'window'"),
        (
            {"groups": ["alie: count=1, shedule=once"]},
            "setting of a group 'shedule': did you mean 'schedule'",
        ),
        ({"groups": [{"attack": "alie", "cuont": 1}]}, "did you mean 'count'"),
        ({"groups": ["alie: count=1, knowledge=all"]}, "knowledge: .*'own', 'colluding' or 'omniscient'"),
        ({"groups": ["alie: count=1"], "attack": "ipm"}, "got attack as well; set them in each group"),
        ({"groups": ["alie: count=1"], "malicious": 0.3}, "got malicious as well"),
        (
            {"groups": [f"{name}: count=1, schedule=rotating" for name in ("alie", "ipm")]},
            "got 2 rotating groups, expected at most one",
        ),
        ({"malicious_nodes": (1,), "schedule": "rotating"}, "got a list for a rotating group"),
        ({"malicious_nodes": (1,), "malicious_count": 1}, "expected at most one of them"),
        ({"malicious_count": 101}, "got 101 malicious clients .*expected at most 100"),
        (
            {"malicious_per_round": 21, "participation": 0.5},
            "got 21 for the group none, expected at most its size, 20",
        ),
        ({"malicious_per_round": 11, "participation": 0.1}, "got 11 of 10 clients per round"),
        ({"malicious_per_round": 3}, "expected room for at most 80 other clients; change participation"),
        ({"schedule": "sleper"}, "did you mean 'sleeper'"),
        ({"goal": "bakdoor"}, "did you mean 'backdoor'"),
    ],
)
def test_impossible_threats_are_refused_with_the_reason(fields, words):
    with pytest.raises(ScenarioError, match=words):
        Scenario.parse(fields)


def test_a_goal_without_a_target_is_refused(small, digits):
    with pytest.raises(ScenarioError, match="goal: got label-flip, expected an attack with a target"):
        Federation(small.replace(goal="label-flip"), digits)
    with pytest.raises(ScenarioError, match="attack backdoor\\(target=12\\): target: got class 12"):
        Federation(but(small, groups=["alie: count=1", "backdoor(target=12): count=1"]), digits)


def test_every_example_in_the_docs_is_a_scenario(digits):
    text = (ROOT / "docs" / "threat-model.md").read_text()
    examples = [block.split("```")[0] for block in text.split("```toml\n")[1:]]
    assert len(examples) >= 4
    for example in examples:
        scenario = Scenario.parse(tomllib.loads(example))
        federation = Federation(scenario.replace(dataset="digits"), digits)
        assert scenario.threat != "none"
        assert not federation.no_effect


def test_groups_do_not_overlap_and_have_their_size(small, digits):
    groups = ["alie: share=0.2, schedule=rotating(every=2)", "ipm: nodes=(0, 1, 2)", "sign-flip: count=20"]
    federation = Federation(but(small, clients=40, groups=groups), digits)
    for number in range(1, 9):
        rotating, listed, fixed = federation.selection.members_by_group(number)
        assert (len(rotating), listed, len(fixed)) == (8, {0, 1, 2}, 20)
        assert fixed == federation.selection.members_by_group(1)[2]
        assert len(rotating | listed | fixed) == 31
        assert federation.selection.malicious(number) == rotating | listed | fixed
    drawn = [federation.selection.members_by_group(number)[0] for number in range(1, 9)]
    assert drawn[::2] == drawn[1::2]
    assert len(set(drawn)) == 4


def test_identities_belong_to_the_seed(small, digits):
    scenario = small.replace(clients=40, schedule="rotating(every=3)")
    one, two = (Federation(scenario.replace(attack=attack), digits) for attack in ("alie", "label-flip"))
    assert [one.selection.malicious(number) for number in range(1, 8)] == [
        two.selection.malicious(number) for number in range(1, 8)
    ]
    other = Federation(scenario.replace(seed=1), digits)
    assert any(one.selection.malicious(number) != other.selection.malicious(number) for number in range(1, 8))


def test_by_chance_the_number_in_a_round_varies_and_fixed_it_does_not(small, digits):
    scenario = small.replace(clients=40, participation=0.25, attack="alie")
    chance, fixed = Federation(scenario, digits), Federation(scenario.replace(malicious_per_round=2), digits)
    numbers = [
        [len(client_ids.malicious(number) & set(client_ids.sample(number))) for number in range(1, 101)]
        for client_ids in (chance.selection, fixed.selection)
    ]
    assert len(set(numbers[0])) > 2
    assert sum(numbers[0]) / 100 == pytest.approx(2, abs=0.3)
    assert set(numbers[1]) == {2}
    for number in range(1, 101):
        sample = fixed.selection.sample(number)
        assert sample == sorted(set(sample))
        assert len(sample) == 10
    assert len({client_id for number in range(1, 101) for client_id in fixed.selection.sample(number)}) == 40


def test_a_fixed_number_holds_for_each_group_while_it_sleeps_and_rotates(small, digits):
    groups = [
        "alie: count=8, per_round=3, schedule=rotating(every=2)",
        "ipm: share=0.2, per_round=1, schedule=sleeper(until=50)",
        "sign-flip: count=4",
    ]
    federation = Federation(but(small, clients=40, participation=0.25, groups=groups), digits)
    for number in range(1, 30):
        sample = set(federation.selection.sample(number))
        rotating, sleeping, _ = federation.selection.members_by_group(number)
        assert (len(sample), len(sample & rotating), len(sample & sleeping)) == (10, 3, 1)
        assert federation.selection.attacking(number).isdisjoint(sleeping)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attack": "alie"}, "alie has no effect: z = 0 for 2 of 10 clients"),
        ({"attack": "backdoor(share=0)"}, "share is 0"),
        ({"attack": "ipm", "malicious": 0.04}, "none of the 10 clients is malicious"),
        (
            {"attack": "ipm", "schedule": "sleeper(until=4)"},
            "sleeper(until=4) is active in none of the 3 rounds",
        ),
        ({"groups": ["label-flip: count=1", "alie: count=2"]}, "alie has no effect: z = 0"),
    ],
)
def test_an_idle_attack_is_told_before_the_first_round(small, tmp_path, changes, words):
    told = []
    history = simulate(
        small.replace(**changes, rounds=3, test_samples=50),
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
    assert Federation(small.replace(attack=attack), digits).no_effect == []


def test_without_a_listener_the_warning_is_logged(small, caplog):
    simulate(small.replace(attack="alie", rounds=1))
    assert "z = 0 for 2 of 10 clients" in caplog.text
