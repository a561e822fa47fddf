"""Flags: each kind, shown by a case, and none without its reason."""

from dataclasses import replace

import numpy as np
import pytest
from auditing import BACKDOOR, BUDGET, IPM, SCALED, TINY

from fedpoison.audits.flags import find_flags
from fedpoison.audits.results import CaseRuns, CleanRuns, Results
from fedpoison.audits.setting import AuditSetting, Case
from fedpoison.audits.tuning import Trial
from fedpoison.results.effects import Effects
from fedpoison.results.history import History
from fedpoison.results.round import GroupRecord, Round, Training
from fedpoison.scenario.scenario import Scenario

CASE = Case(SCALED, -5.0, "iid", 0.2)
FAIR = dict.fromkeys(range(10), 0.1)


def counts(correct):
    """Return the confusion matrix of ten samples per class, some of which are predicted correctly."""
    matrix = np.diag([correct] * 10)
    matrix += np.roll(np.diag([10 - correct] * 10), 1, axis=1)
    return matrix.tolist()


def history(scenario, correct=9, **training):
    training = {"trust": FAIR, "malicious": [8, 9], **training}
    records = [
        Round(
            round=number, confusion=counts(1 if number == 0 else correct), loss=1.0, training=Training(**each)
        )
        for number, each in ((0, {}), (4, training))
    ]
    return History(scenario, records)


@pytest.fixture(scope="module")
def setting():
    return AuditSetting.load(TINY, Scenario.parse(TINY.settings))


def results(setting, *, clean=None, attacked=None, seeds=(0, 1), correct=(3, 3), case=CASE):
    """Return results: without an attack, nine of ten samples are correct, and with it, three."""
    partition, share = case.partition, case.share
    scenarios = [setting.scenario(case, seed) for seed in seeds]
    unharmed = [setting.clean(partition, share, seed) for seed in seeds]
    runs = {
        scenario.seed: history(scenario, right, **(attacked or {}))
        for scenario, right in zip(scenarios, correct, strict=True)
    }
    clean_runs = {scenario.seed: history(scenario, **(clean or {})) for scenario in unharmed}
    return Results(
        [CaseRuns(case, Trial(case, 0.7), scenarios, runs, ())],
        [CleanRuns(partition, share, None, unharmed, clean_runs)],
        {},
        {},
    )


def flags(setting, found=None, trials=(), budget=BUDGET):
    found = results(setting) if found is None else found
    return {flag.kind: flag.text for flag in find_flags(setting, budget, trials, found)}


def test_an_audit_without_a_reason_has_no_flag(setting):
    trials = [Trial(replace(CASE, strength=strength), 0.7) for strength in SCALED.strengths]
    assert flags(setting, trials=trials) == {}


def test_a_strategy_that_does_not_learn(setting):
    assert "at guessing level" in flags(setting, results(setting, clean={"correct": 1}))["no learning"]


def test_a_strategy_that_rejects_all_or_almost_all_clients(setting):
    nothing = flags(setting, results(setting, clean={"trust": dict.fromkeys(range(10), 0.0)}))
    assert nothing["rejects all"].endswith("all clients were rejected in 2 of 2 rounds")
    many = dict.fromkeys(range(25), 0.0) | {3: 1.0}
    single = flags(setting, results(setting, clean={"trust": many}))
    assert single["rejects all"] == "without attack, the strategy uses 4.0 % of the clients per round"
    idle = flags(setting, results(setting, clean={"unchanged": {"nothing to do": 2}}))
    assert idle["rejects all"].endswith("4 of 8 rounds did not change the model")


def test_runs_that_failed(setting):
    trials = [Trial(CASE, None, reason="no such layer")]
    assert flags(setting, trials=trials)["failed runs"] == (
        "scaled-update(factor=-5.0) does not count, because its runs failed: no such layer"
    )
    stopped = [Trial(Case(BACKDOOR, None, "iid", 0.2), None, stopped=True, reason="too few updates")]
    assert flags(setting, trials=stopped) == {}


def test_a_share_for_which_the_strategy_is_not_defined():
    krum = AuditSetting.load(TINY, Scenario.parse({**TINY.settings, "strategy": "krum"}))
    assert flags(krum)["undefined share"].startswith("40 % malicious: Krum(byzantine=4")


def test_results_that_need_more_seeds(setting):
    wide = {"correct": (1, 5)}
    found = flags(setting, results(setting, **wide))
    assert found.keys() == {"few seeds"}
    assert "at most 40 points under scaled-update(factor=-5.0), iid, 20 % malicious" in found["few seeds"]
    random = AuditSetting.load(TINY, Scenario.parse({**TINY.settings, "strategy": "dnc"}))
    assert flags(random, results(random, **wide)).keys() == {"random rule", "probe differs"}


def test_rule_aware_attacks_that_cannot_try_the_same_aggregation():
    flower = AuditSetting.load(TINY, Scenario.parse({**TINY.settings, "strategy": "flwr:FedMedian"}))
    assert flags(flower)["probe differs"].startswith("attacks cannot call a strategy of Flower")
    mixed = AuditSetting.load(TINY, Scenario.parse({**TINY.settings, "strategy": "bucketing | median"}))
    assert "other random draws" in flags(mixed)["probe differs"]


def test_lost_replies_of_honest_clients(setting):
    lost = flags(setting, results(setting, clean={"drop_counts": {"late": 2}}))
    assert lost["lost replies"].endswith("4 x late")
    honest = flags(setting, results(setting, attacked={"dropped": {1: "late", 9: "NaN"}}))
    assert honest["lost replies"] == "scaled-update(factor=-5.0): 2 replies of honest clients were unusable"
    assert flags(setting, results(setting, attacked={"dropped": {9: "NaN"}})) == {}


def test_an_attack_without_effect(setting):
    same = flags(setting, results(setting, correct=(9, 9)))
    assert "every prediction is as without attack" in same["no effect"]
    assert flags(setting, results(setting, correct=(9, 8))) == {}
    for changed in (False, True):
        effects = Effects(updates={8: False, 9: changed})
        group = GroupRecord(attack="scaled-update", nodes=[8, 9], acted=True, effects=effects)
        found = flags(setting, results(setting, attacked={"groups": [group]}))
        assert found.keys() == (set() if changed else {"no effect"})


def test_a_strategy_that_withstands_default_strengths_only(setting):
    trials = [Trial(replace(CASE, strength=-30.0), 0.1), Trial(replace(CASE, strength=-5.0), 0.6)]
    text = flags(setting, trials=trials)["default strength"]
    assert "from 10.0 % (scaled-update(factor=-30.0)) to 60.0 % (scaled-update(factor=-5.0)" in text
    small = [trials[0], replace(trials[1], harm=0.14)]
    assert flags(setting, trials=small) == {}


def test_a_strongest_strength_at_the_end_of_its_range(setting):
    trials = [Trial(replace(CASE, strength=-30.0), 0.7), Trial(replace(CASE, strength=-5.0), 0.6)]
    assert "may harm more" in flags(setting, trials=trials)["end of range"]
    flat = [trials[0], replace(trials[1], harm=0.69)]
    assert flags(setting, trials=flat) == {}


def test_an_attacker_who_is_stronger_with_less_knowledge(setting):
    case = Case(IPM, 2.0, "iid", 0.2)
    trials = [Trial(case, 0.3), Trial(replace(case, knowledge="colluding"), 0.5)]
    found = flags(setting, trials=[*trials, Trial(replace(case, strength=0.1), 0.5)])
    assert found.keys() == {"less knowledge"}
    assert "50.0 % with knowledge colluding, and 30.0 % with more knowledge" in found["less knowledge"]
