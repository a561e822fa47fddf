"""The audit: its card, its numbers, and the weak rule that only tuned attacks find out."""

import html
import json
import re
import shlex
import time
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from auditing import SCALED, TINY, UNTARGETED

import fedpoison as fp
from fedpoison.audits.card import AuditCard
from fedpoison.audits.card_parts import Measured, worst_of
from fedpoison.audits.cost import relative_memory, seconds_per_round
from fedpoison.audits.page import write_page
from fedpoison.audits.setting import AuditSetting, Case
from fedpoison.audits.tables import card_tables, worst_rows
from fedpoison.audits.treatment import false_rejection
from fedpoison.errors import RunError, ScenarioError
from fedpoison.federation.federation import Federation
from fedpoison.rules import Aggregate, FedAvg, Rule, RuleCard
from fedpoison.simulation.batch import BatchCallbacks

pytestmark = pytest.mark.xdist_group("audit")  # one process makes the cards that the tests share


@dataclass(frozen=True, kw_only=True)
class Copying(Rule):
    """The mean of a copy of the updates."""

    card: ClassVar = RuleCard(paper="none")

    def aggregate(self, updates, shares, context):
        copied = updates * 2
        return Aggregate(update=copied.mean(dim=0) / 2, trust=shares)


WEAK = """
from dataclasses import dataclass
from typing import ClassVar

from fedpoison.rules import Aggregate, Rule, RuleCard


@dataclass(frozen=True, kw_only=True)
class OnlyDefaults(Rule):
    \"\"\"The mean without updates that are ten times as long as the median.\"\"\"

    card: ClassVar = RuleCard(paper="none")

    def aggregate(self, updates, shares, context):
        norms = updates.norm(dim=1)
        trust = shares * (norms < 10 * norms.median())
        trust = trust / trust.sum()
        return Aggregate(update=(trust.to(updates.dtype) @ updates), trust=trust)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("audits")


@pytest.fixture(scope="module")
def card(store):
    return fp.audit("fedavg", protocol=TINY, jobs=1, out=store)


@pytest.fixture(scope="module")
def weak(tmp_path_factory):
    path = tmp_path_factory.mktemp("weak") / "weak.py"
    path.write_text(WEAK)
    return f"{path}:OnlyDefaults"


def test_fedavg_learns_and_breaks(card):
    assert card.clean_accuracy > 0.6
    assert card.worst_accuracy < 0.3
    backdoor = card.worst("backdoor")
    assert card.backdoor_success == backdoor.success.mean > backdoor.clean_success.mean + 0.2
    assert card.breakdown_share == 0.1  # between 0 and the first share
    assert (card.breakdown.low, card.breakdown.high) == (0.0, 0.2)
    assert card.robustness_cost == 0.0


def test_the_top_is_the_worst_case_at_the_headline_share(card):
    rows = [row for row in card.attacked if row.share == 0.2]
    assert card.worst_accuracy == min(row.accuracy.mean for row in rows)
    assert card.worst_class_accuracy == min(row.worst_class_accuracy.mean for row in rows)
    assert card.clean_accuracy == min(row.accuracy.mean for row in card.clean if row.share == 0.2)
    assert worst_of(row for row in rows if row.threat == "backdoor") == card.worst("backdoor")


def test_the_figure_has_the_worst_case_by_share(card):
    left, right = card.plot().axes
    assert [line.get_label() for line in left.lines] == [
        "without attack",
        "untargeted",
        "targeted",
        "backdoor",
    ]
    assert [line.get_label() for line in right.lines] == ["targeted", "backdoor"]
    assert left.lines[1].get_ydata()[0] == pytest.approx(100 * card.worst("untargeted").accuracy.mean)
    assert list(left.lines[1].get_xdata()) == [20.0, 40.0]


def test_the_page_needs_no_network_and_has_every_number(card, tmp_path):
    write_page(card, tmp_path / "card.html")
    text = (tmp_path / "card.html").read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", text)
    for row in card.attacked:
        assert (row == card.worst(row.threat, row.share, row.partition)) == (row.accuracy.percent() in text)
    assert all(html.escape(row.command, quote=False) in html.unescape(text) for row in worst_rows(card))
    assert text.count("<tr>") == sum(len(table.cells) + 1 for table in card_tables(card)[1:]) + card.tries + 1


def test_the_memory_of_a_rule_is_relative_to_the_updates():
    assert relative_memory(FedAvg(), 10) < 0.5
    assert 0.8 < relative_memory(Copying(), 10) < 4
    assert relative_memory(fp.rules.FLTrust(), 10) is None


def test_each_number_is_of_the_test_set_with_seeds_that_tuning_did_not_use(card):
    assert not set(card.seeds) & set(card.tuning_seeds)
    row = card.worst("untargeted")
    fields = {**TINY.settings, "partition": TINY.partitions[row.partition], "malicious": row.share}
    runs = [
        fp.simulate(strategy="fedavg", attack=row.attack, knowledge=row.knowledge, seed=seed, **fields)
        for seed in card.seeds
    ]
    assert row.accuracy.mean == pytest.approx(np.mean([run.last.accuracy for run in runs]))
    tuned = fp.simulate(
        strategy="fedavg", attack=row.attack, knowledge=row.knowledge, seed=card.tuning_seeds[0], **fields
    )
    assert row.validation_harm == pytest.approx(1 - tuned.last.split("validation").accuracy)


def test_the_command_of_a_row_repeats_its_numbers(card, fedpoison, store):
    row = card.worst("targeted", share=0.4, partition="skewed")
    _, out, _ = fedpoison(*shlex.split(row.command)[1:], "--json", "--jobs", 1, "--out", store)
    found = json.loads(out)["estimates"]
    assert found[0]["mean"] == pytest.approx(row.accuracy.mean)
    assert {entry["measure"]: entry["mean"] for entry in found}["attack success"] == row.success.mean


def test_the_strongest_try_of_each_attack_is_marked(card):
    strongest = [row for row in card.tried if row.strongest]
    assert len(strongest) == len(TINY.attacks) * len(TINY.partitions)
    for row in strongest:
        name = row.attack.split("(")[0]
        alike = [
            other.harm
            for other in card.tried
            if (other.attack.split("(")[0], other.partition) == (name, row.partition)
        ]
        assert row.harm == max(alike)


def test_the_times_are_per_round(card):
    assert card.seconds_per_round.keys() == {"train", "aggregate", "evaluate"}
    began = time.perf_counter()
    found = seconds_per_round(AuditSetting.load(TINY, TINY.scenario(strategy="fedavg")))
    rounds = len(TINY.partitions) * TINY.settings["rounds"]
    assert 0 < rounds * sum(found.values()) < time.perf_counter() - began


def test_an_audit_resumes_from_its_store(card, store):
    ran = []
    callbacks = BatchCallbacks(on_round=lambda scenario, _: ran.append(scenario))
    again = fp.audit("fedavg", protocol=TINY, jobs=1, out=store, callbacks=callbacks)
    assert again.digest == card.digest
    assert ran == []


def test_a_card_returns_from_json(card, tmp_path):
    path = tmp_path / "card.json"
    path.write_text(card.to_json())
    assert AuditCard.load(path) == card
    path.write_text(card.to_json().replace('"stopped": false', '"stopped": true', 1))
    with pytest.raises(RunError, match=f"digest: got {card.digest}, expected .*; the card was edited"):
        AuditCard.load(path)
    head = list(json.loads(card.to_json()))[:11]
    assert {
        "worst_accuracy",
        "worst_class_accuracy",
        "backdoor_success",
        "clean_accuracy",
        "breakdown_share",
    } <= set(head)
    path.write_text("{}")
    with pytest.raises(RunError, match="is no audit card: got no strategy"):
        AuditCard.load(path)


def test_the_adaptive_part_finds_out_a_rule_that_is_robust_to_default_strengths_only(weak, store):
    defaults = replace(UNTARGETED, attacks=(replace(SCALED, strengths=SCALED.strengths[:1]),))
    flattered = fp.audit(weak, protocol=defaults, jobs=1, out=store)
    assert flattered.worst_accuracy > 0.8
    assert flattered.breakdown_share is None
    honest = fp.audit(weak, protocol=UNTARGETED, jobs=1, out=store)
    assert honest.worst_accuracy < 0.4
    assert honest.breakdown_share == 0.1
    assert honest.worst("untargeted").tuned
    (flag,) = [flag for flag in honest.flags if flag.kind == "default strength"]
    assert flag.text.startswith("untargeted: tuning raises the harm of the worst attack from ")


def test_an_undefined_share_is_a_breakdown(store):
    krum = fp.audit("krum", protocol=replace(UNTARGETED, shares=(0.2, 0.4)), jobs=1, out=store)
    assert list(krum.undefined) == ["0.4"]
    assert "needs n > 2f + 2" in krum.undefined["0.4"]
    assert krum.breakdown_share == pytest.approx(0.3)  # between the last defined share and the next
    assert "undefined share" in {flag.kind for flag in krum.flags}


def test_attacks_on_pixels_are_left_out_without_pixels(tmp_path, store):
    data = np.random.default_rng(0)
    labels = data.integers(0, 3, 300)
    path = tmp_path / "table.npz"
    np.savez(path, x=data.normal(size=(300, 6)).astype("float32") + labels[:, None], y=labels)
    found = fp.audit(
        "median",
        protocol=replace(TINY, partitions={"iid": "iid"}),
        dataset=f"npz(path={path})",
        jobs=1,
        out=store,
    )
    assert list(found.left_out) == ["backdoor(target=2)"]
    assert found.backdoor_success is None
    assert found.settings["validation_samples"] < 200
    assert found.changed_settings == ["train_samples", "validation_samples"]


def test_fields_that_the_audit_sets_are_refused():
    with pytest.raises(ScenarioError, match="seed: an audit sets this field; leave it out"):
        fp.audit("fedavg", protocol=TINY, seed=3)
    with pytest.raises(ScenarioError, match="unknown budget 'huge'"):
        fp.audit("fedavg", protocol=TINY, budget="huge")


def test_a_strategy_that_is_defined_for_small_shares_only(fedpoison):
    """Bulyan needs n >= 4 f + 3: one attacker among 10 clients, not the two of the default share."""
    protocol = replace(TINY, shares=(0.1, 0.2))
    setting = AuditSetting.load(protocol, protocol.scenario(strategy="bulyan"))
    assert (setting.shares, list(setting.undefined)) == ([0.1], [0.2])
    assert setting.headline_share == 0.1
    command = ["audit", "--strategy", "bulyan", "--clients", 10, "--dataset", "missing"]
    code, _, err = fedpoison(*command)
    assert (code, "missing" in err, "Bulyan" in err) == (2, True, False)


def test_the_false_rejection_rate_counts_samples_on_rejected_honest_clients(store):
    fields = {**TINY.settings, "partition": "dirichlet(alpha=0.5)"}
    run = fp.simulate(strategy="krum", malicious=0.2, **fields)
    federation = Federation.load(run.scenario)
    rates, samples = false_rejection([run], federation.dataset)
    record = run.last
    kept = max(record.training.trust, key=record.training.trust.__getitem__)
    honest = [client for client in range(10) if client not in record.training.malicious]
    for label in range(10):
        counts = [
            int((federation.train.labels[federation.parts[client]] == label).sum()) for client in honest
        ]
        mine = counts[honest.index(kept)] if kept in honest else 0
        assert samples[label] == sum(counts)
        assert rates[label] == pytest.approx(1 - mine / sum(counts))


def test_an_unequal_weight_is_no_rejection(card):
    assert {row.false_rejection for row in card.classes} == {0.0}


def test_a_case_is_a_scenario_of_the_protocol():
    setting = AuditSetting.load(TINY, fp.Scenario.parse({**TINY.settings, "strategy": "median"}))
    scenario = setting.scenario(Case(SCALED, -5.0, "skewed", 0.4, knowledge="colluding"), 7)
    assert scenario.attack == "scaled-update(factor=-5.0)"
    assert (scenario.malicious, scenario.seed, scenario.knowledge) == (0.4, 7, "colluding")
    assert scenario.partition == fp.Scenario(partition="dirichlet(alpha=0.5)").partition
    assert setting.headline_share == 0.2


def test_measured_numbers_are_shown_with_their_interval():
    assert Measured.of([0.5]).percent() == "50.0"
    assert Measured.of([0.5, 0.5]).percent() == "50.0 [50.0, 50.0]"
