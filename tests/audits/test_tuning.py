"""Tuning: which strengths it tries, and which attacks it reports."""

from dataclasses import replace

import pytest
from auditing import BACKDOOR, BUDGET, IPM, SCALED, TINY

from clients.attacks.base import Knowledge
from fedpoison.audits.protocol import AUDIT_1, AUDIT_2, LATEST, PROTOCOLS, class_pair
from fedpoison.audits.setting import AuditSetting, Case
from fedpoison.audits.tuning import Trial, between, finalists, ranking
from fedpoison.scenario.registries import read_attack
from fedpoison.scenario.scenario import Scenario


def trial(attack, strength, harm, knowledge=None, share=0.2):
    return Trial(Case(attack, strength, "iid", share, knowledge), harm)


@pytest.fixture(scope="module")
def setting():
    return AuditSetting.load(TINY, Scenario.parse(TINY.settings))


def test_refinement_halves_the_gaps_next_to_the_strongest_strength():
    trials = [trial(SCALED, strength, 0.5) for strength in (-30.0, -5.0, -1.0)]
    assert list(between(trials[1], trials)) == pytest.approx([-12.25, -2.236], rel=1e-3)
    assert list(between(trials[0], trials)) == pytest.approx([-12.25], rel=1e-3)
    mixed = [trial(SCALED, -1.0, 0.5), trial(SCALED, 3.0, 0.5)]
    assert list(between(mixed[0], mixed)) == [1.0]
    assert list(between(trial(BACKDOOR, None, 0.5), trials)) == []


def test_a_ranking_has_the_strongest_trial_of_each_attack():
    trials = [
        trial(SCALED, -30.0, 0.2),
        trial(SCALED, -5.0, 0.7),
        trial(IPM, 2.0, 0.9),
        trial(IPM, 0.1, None),
    ]
    assert ranking(trials, "untargeted", "iid", 0.2) == [trials[2], trials[1]]
    assert ranking(trials, "backdoor", "iid", 0.2) == []


def test_the_finalists_are_of_different_families(setting):
    two = replace(BUDGET, finalists={"untargeted": 2, "targeted": 1, "backdoor": 1})
    other = replace(IPM, attack="alie(z={strength})")
    trials = [
        trial(IPM, 2.0, 0.9),
        trial(other, 1.0, 0.8),
        trial(SCALED, -5.0, 0.4),
        trial(BACKDOOR, None, 1.0),
    ]
    chosen = finalists(setting, two, trials, "iid", 0.4)
    assert chosen == [trials[0], trials[2], trials[3]]


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_every_attack_of_the_protocol_is_valid_with_every_strength(classes):
    source, target = class_pair(classes)
    assert source != target
    assert max(source, target) < classes
    kinds = set()
    for attack in LATEST.attacks:
        for strength in attack.tries:
            built = read_attack(attack.spec(strength, classes=classes)).value
            goal = built.goal(classes)
            assert (goal is None) == (attack.threat == "untargeted")
            assert built.no_effect(25, 5) is None
            kinds.add(built.card.knowledge)
        assert isinstance(attack.tries[0], type(None) | float | str)
    assert kinds == set(Knowledge)


def test_the_first_strength_of_an_attack_is_its_default():
    for attack in LATEST.attacks:
        name = attack.attack.split("(")[0]
        if "+" in attack.attack or not attack.strengths:
            continue
        built = read_attack(attack.spec(attack.strengths[0], classes=10)).value
        default = read_attack(name).value
        parameter = attack.attack.split("={strength}")[0].split("(")[1].split(",")[-1].strip()
        expected = getattr(default, parameter)
        assert getattr(built, parameter) == (
            pytest.approx(expected, rel=1e-3) if isinstance(expected, float) else expected
        )


@pytest.mark.parametrize(("protocol", "digest"), [(AUDIT_1, "b918842dfe48"), (AUDIT_2, "43522e132522")])
def test_the_protocols_are_frozen(protocol, digest):
    assert protocol.digest == digest
    assert {attack.threat for attack in protocol.attacks} == {"untargeted", "targeted", "backdoor"}
    for budget in protocol.budgets.values():
        assert not set(protocol.seeds(budget)) & set(protocol.tuning_seeds(budget))


def test_a_protocol_only_adds_attacks_to_the_previous_one():
    first, second = PROTOCOLS.values()
    assert replace(second, name=first.name, attacks=first.attacks) == first
    tried = {(each.attack, strength) for each in second.attacks for strength in each.tries}
    assert tried > {(each.attack, strength) for each in first.attacks for strength in each.tries}
