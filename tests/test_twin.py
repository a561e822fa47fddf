"""The clean twin: the same nodes and the same goal, without the attack."""

from threats import but

from fedpoison.fleet import Federation
from fedpoison.scenario import Scenario
from fedpoison.simulation import simulate
from fedpoison.twin import simulate_twin


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
    attacked, twin = Federation(scenario, digits), Federation(scenario.without_attack(None), digits)
    for number in range(1, 9):
        assert attacked.attackers.sample(number) == twin.attackers.sample(number)
        assert attacked.attackers.pools(number) == twin.attackers.pools(number)


def test_the_twin_is_read_where_the_store_has_it(small, tmp_path):
    scenario = small.but(attack="label-flip")
    plain = simulate(small, out=tmp_path)
    written = (plain.path / "model.safetensors").stat().st_mtime_ns
    twin = simulate_twin(scenario, out=tmp_path)
    assert twin.path == plain.path  # an attack without a target has the plain clean run as its twin
    assert (plain.path / "model.safetensors").stat().st_mtime_ns == written


def test_the_twin_of_a_schedule_is_the_twin_of_all():
    scenario = Scenario(attack="alie", schedule="sleeper(until=5)", knowledge="own")
    assert scenario.without_attack(None) == Scenario()
    fixed = scenario.but(participation=0.2, malicious_per_round=3, schedule="rotating")
    assert fixed.without_attack("backdoor").schedule == "rotating"
