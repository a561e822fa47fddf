"""Who is malicious: by group, by seed and by round."""

import pytest
from threats import but

from fedpoison.fleet import Federation


def test_groups_do_not_overlap_and_have_their_size(small, digits):
    groups = ["alie: share=0.2, schedule=rotating(every=2)", "ipm: nodes=(0, 1, 2)", "sign-flip: count=20"]
    federation = Federation(but(small, clients=40, groups=groups), digits)
    for number in range(1, 9):
        rotating, listed, fixed = federation.attackers.pools(number)
        assert (len(rotating), listed, len(fixed)) == (8, {0, 1, 2}, 20)
        assert fixed == federation.attackers.pools(1)[2]
        assert len(rotating | listed | fixed) == 31
        assert federation.attackers.malicious(number) == rotating | listed | fixed
    drawn = [federation.attackers.pools(number)[0] for number in range(1, 9)]
    assert drawn[::2] == drawn[1::2]
    assert len(set(drawn)) == 4


def test_identities_belong_to_the_seed(small, digits):
    scenario = small.but(clients=40, schedule="rotating(every=3)")
    one, two = (Federation(scenario.but(attack=attack), digits) for attack in ("alie", "label-flip"))
    assert [one.attackers.malicious(number) for number in range(1, 8)] == [
        two.attackers.malicious(number) for number in range(1, 8)
    ]
    other = Federation(scenario.but(seed=1), digits)
    assert any(one.attackers.malicious(number) != other.attackers.malicious(number) for number in range(1, 8))


def test_by_chance_the_number_in_a_round_varies_and_fixed_it_does_not(small, digits):
    scenario = small.but(clients=40, participation=0.25, attack="alie")
    chance, fixed = Federation(scenario, digits), Federation(scenario.but(malicious_per_round=2), digits)
    numbers = [
        [len(nodes.malicious(number) & set(nodes.sample(number))) for number in range(1, 101)]
        for nodes in (chance.attackers, fixed.attackers)
    ]
    assert len(set(numbers[0])) > 2
    assert sum(numbers[0]) / 100 == pytest.approx(2, abs=0.3)
    assert set(numbers[1]) == {2}
    for number in range(1, 101):
        sample = fixed.attackers.sample(number)
        assert sample == sorted(set(sample))
        assert len(sample) == 10
    assert len({node for number in range(1, 101) for node in fixed.attackers.sample(number)}) == 40


def test_a_fixed_number_holds_for_each_group_while_it_sleeps_and_rotates(small, digits):
    groups = [
        "alie: count=8, per_round=3, schedule=rotating(every=2)",
        "ipm: share=0.2, per_round=1, schedule=sleeper(until=50)",
        "sign-flip: count=4",
    ]
    federation = Federation(but(small, clients=40, participation=0.25, groups=groups), digits)
    for number in range(1, 30):
        sample = set(federation.attackers.sample(number))
        rotating, sleeping, _ = federation.attackers.pools(number)
        assert (len(sample), len(sample & rotating), len(sample & sleeping)) == (10, 3, 1)
        assert federation.attackers.acting(number).isdisjoint(sleeping)
