"""Rules and attacks in the code of a user: classes and functions of a file, a module or this process."""

import pickle
import sys
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

import fedpoison as fp
from clients.attacks.base import CraftContext, Knowledge
from fedpoison import own_code
from fedpoison.errors import CrashError, ScenarioError
from fedpoison.results.store import StoredRun
from fedpoison.rules import Aggregate, Rule, RuleCard
from fedpoison.scenario.aggregation import build_aggregation, read_aggregation
from fedpoison.scenario.attackers import AttackerGroup
from fedpoison.scenario.registries import attacks, build_attack, read_attack, strategies
from fedpoison.scenario.scenario import Scenario
from fedpoison.studies.attack_search import parse_objective, search
from strategies import OPTIMIZERS, PREAGGREGATORS, STRATEGIES
from strategies.rules.median import Median

CODE = '''
from dataclasses import dataclass
from typing import ClassVar

from fedpoison.attacks import Attack, AttackCard, Knowledge, Range, SearchSpace
from fedpoison.rules import Aggregate, ByzantineRule, Median, RuleCard


@dataclass(frozen=True, kw_only=True)
class Middle(ByzantineRule):
    """The median, which counts its clients."""

    card: ClassVar = RuleCard(paper="my own", needs=("byzantine",))

    def aggregate(self, updates, shares, context):
        return Median()(updates)


@dataclass(frozen=True, kw_only=True)
class Reversed(Attack):
    """Send the reversed mean."""

    factor: float = 3.0
    card: ClassVar = AttackCard(paper="my own", knowledge=Knowledge.COLLUDING)
    search_space: ClassVar = SearchSpace(parameters={"factor": Range(low=1, high=9)})

    def craft(self, own, seen, context):
        return (-self.factor * own.mean(dim=0)).expand_as(own).clone()


def lower(updates, share: float = 0.25):
    return updates.quantile(share, dim=0)


def opposite(own, seen, factor=2.0):
    return (-factor * seen.mean(dim=0)).expand_as(own)


@dataclass(frozen=True, kw_only=True)
class Odd:
    first: int = 1

    def active(self, server_round):
        return server_round % 2 == 1 and server_round >= self.first

    def rotation(self, server_round):
        return None


def unfinished(updates, share):
    return updates[0]


def scalar(updates):
    return updates.mean()


NUMBER = 3
'''


@pytest.fixture
def code(tmp_path, request):
    """The path of a file that this process has not read before."""
    path = tmp_path / "my_file.py"
    path.write_text(f"{CODE}\n# {request.node.name}\n")
    return path


@pytest.fixture
def tiny(small) -> Scenario:
    return small.replace(clients=6, rounds=2, malicious=0.34)


def test_a_class_of_a_file_takes_parameters_and_defaults_of_the_scenario(code):
    assert build_attack(f"{code}:Reversed(factor=5)").factor == 5
    assert build_aggregation(f"{code}:Middle", byzantine=2).byzantine == 2
    assert build_aggregation(f"nnm | {code}:Middle(byzantine=1)", byzantine=2).rule.byzantine == 1


def test_the_canonical_text_has_the_digest_and_no_folder(code):
    digest = own_code.digest_of(code.read_bytes())
    spec = read_aggregation(f"nnm | {code}:lower( share = 0.4 )")
    assert spec == f"nnm | my_file.py@{digest}:lower(share=0.4)"
    assert read_aggregation(str(spec)) == spec
    group = AttackerGroup.read(f"{code}:Reversed: share=0.2, schedule=once")
    assert AttackerGroup.read(group.to_spec()) == group
    scheduled = AttackerGroup.read(f"{code}:Reversed(factor=2): share=0.2, schedule={code}:Odd(first=3)")
    assert scheduled.schedule == f"my_file.py@{digest}:Odd(first=3)"
    assert AttackerGroup.read(scheduled.to_spec()) == scheduled


def test_a_change_of_the_file_is_another_run(code, tiny):
    before = tiny.replace(strategy=f"{code}:lower")
    code.write_text(CODE + "# changed\n")
    assert tiny.replace(strategy=f"{code}:lower").run_id != before.run_id


def test_a_function_is_a_rule_without_trust(code, tiny):
    updates = torch.tensor([[1.0, 8.0], [2.0, 6.0], [9.0, 7.0]])
    rule = build_aggregation(f"{code}:lower(share=0.5)", byzantine=0)
    assert torch.equal(rule(updates).update, Median()(updates).update)
    run = fp.simulate(tiny, strategy=f"{code}:lower(share=0.5)", attack="sign-flip")
    same = fp.simulate(tiny, strategy="median", attack="sign-flip")
    assert [record.confusion for record in run.records] == [record.confusion for record in same.records]
    assert run.last.training.trust is None
    assert same.last.training.trust is not None


def test_a_function_is_an_omniscient_attack(code, tiny):
    attack = build_attack(f"{code}:opposite(factor=3)")
    own, seen = torch.ones(2, 3), torch.arange(12.0).reshape(4, 3)
    crafted = attack.craft(own, seen, CraftContext(generator=torch.Generator(), model=torch.zeros(3)))
    assert torch.equal(crafted, torch.tensor([[-13.5, -16.5, -19.5]]).expand(2, 3))
    assert attack.card.knowledge is Knowledge.OMNISCIENT
    run = fp.simulate(tiny, attack=f"{code}:opposite(factor=3)", strategy="fedavg")
    same = fp.simulate(tiny, attack="ipm(epsilon=3)", strategy="fedavg")
    assert [record.confusion for record in run.records] == [record.confusion for record in same.records]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Nope", "expected one of Middle, Odd, Reversed, lower, opposite, scalar, unfinished"),
        ("NUMBER", "got 3, expected a dataclass with card.needs, minimum, __call__"),
        ("Reversed", "expected a dataclass with card.needs, minimum, __call__"),
        ("unfinished", r"function unfinished\(updates, share\): expected the parameters updates"),
        ("lower(shar=1)", "did you mean 'share'"),
        ("lower(share=much)", "share"),
    ],
)
def test_a_wrong_name_is_one_clear_error(code, name, message):
    with pytest.raises(ScenarioError, match=message):
        read_aggregation(f"{code}:{name}")


def test_a_result_of_another_shape_stops_the_run(code, tiny):
    with pytest.raises(CrashError, match=r"scalar returned shape \(\), expected a tensor of shape"):
        fp.simulate(tiny, strategy=f"{code}:scalar")


def test_another_process_gets_the_code_with_the_scenario(code, tiny, monkeypatch):
    scenario = tiny.replace(strategy=f"nnm | {code}:lower", attack=f"{code}:Reversed")
    sent = pickle.dumps(scenario)
    monkeypatch.setattr(own_code, "_files", {})
    monkeypatch.setattr(attacks, "_own", {})
    monkeypatch.setattr(strategies, "_own", {})
    digest = own_code.digest_of(code.read_bytes())
    monkeypatch.delitem(sys.modules, f"my_file_{digest}")
    code.unlink()
    received = pickle.loads(sent)  # noqa: S301  # our own bytes
    assert received == scenario
    assert type(received.attackers[0].built_attack).__name__ == "Reversed"


def test_a_stored_run_keeps_the_code(code, tiny, tmp_path, monkeypatch):
    run = fp.simulate(tiny, strategy=f"{code}:Middle", attack=f"{code}:Reversed", out=tmp_path / "runs")
    monkeypatch.setattr(own_code, "_files", {})
    code.unlink()
    stored = StoredRun(run.path)
    assert stored.history.records == run.records
    assert stored.history.scenario.run_id == run.scenario.run_id


def test_a_search_tries_an_attack_of_a_file(code, tiny, tmp_path):
    scenario = tiny.replace(rounds=1)
    names = ["ipm", f"{code}:Reversed", f"{code}:opposite"]
    found = search(
        scenario, parse_objective("accuracy"), attacks=names, trials=4, confirm=0, jobs=1, out=tmp_path
    )
    tried = {trial.attack.partition("(")[0] for trial in found.trials}
    digest = own_code.digest_of(code.read_bytes())
    assert {f"my_file.py@{digest}:Reversed", f"my_file.py@{digest}:opposite", "ipm"} <= tried


def test_an_object_of_a_file_is_read_as_its_name(code):
    attack = build_attack(f"{code}:Reversed(factor=5)")
    assert read_attack(attack) == read_attack(f"{code}:Reversed(factor=5)")


@dataclass(frozen=True, kw_only=True)
class Plain(Rule):
    """A rule of this module."""

    card: ClassVar = RuleCard(paper="-")

    def aggregate(self, updates, shares, context):
        return Aggregate(update=updates.mean(dim=0), trust=shares)


def test_an_object_that_no_module_defines_is_refused_with_advice():
    class Local(Plain):
        """A rule that other processes cannot find."""

    with pytest.raises(ScenarioError, match="write the code to a file and give my_file.py:Local"):
        read_aggregation(Local())


def test_a_name_belongs_to_one_kind_of_stage():
    assert not set(PREAGGREGATORS) & {*STRATEGIES, *OPTIMIZERS}
