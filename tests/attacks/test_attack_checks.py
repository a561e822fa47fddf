"""Every registered attack keeps the laws, and the registry is what lies on disk."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import clients
from clients import ATTACKS
from clients.attacks.base import Attack, AttackCard, CraftContext, Knowledge, Range, SearchSpace
from clients.attacks.composite import Composite, craft_updates
from clients.attacks.data.backdoor import Square, Trigger
from clients.checks import CheckError, check_attack


@pytest.mark.parametrize("attack", [kind() for kind in ATTACKS.values()], ids=list(ATTACKS))
def test_the_laws(attack):
    check_attack(attack)


@pytest.mark.parametrize("name", ATTACKS)
def test_the_card_names_the_settings_without_effect(name):
    kind = ATTACKS[name]
    assert kind.no_effect is Attack.no_effect or kind.card.idle_when != "never"


def test_the_registry_is_what_lies_on_disk():
    found = set()
    for module in pkgutil.walk_packages(clients.attacks.__path__, "clients.attacks."):
        names = vars(importlib.import_module(module.name)).values()
        found |= {kind for kind in names if isinstance(kind, type) and issubclass(kind, Attack)}
    assert {*ATTACKS.values()} == found - {Attack, Composite, Trigger, Square}
    assert len(ATTACKS) == len({*ATTACKS.values()})
    assert list(ATTACKS) == sorted(ATTACKS)


@pytest.mark.parametrize("name", ATTACKS)
def test_the_class_is_named_like_the_attack(name):
    if name != "none":
        assert ATTACKS[name].__name__.lower() == name.replace("-", "")


class Recorder(Attack):
    """Notes what it is handed."""

    card = AttackCard(paper="-")

    def __init__(self, knowledge: Knowledge, *, knows_rule: bool = False):
        self.card = AttackCard(paper="-", knowledge=knowledge, knows_rule=knows_rule)
        self.calls = []

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        self.calls.append((own, seen, context))
        return own + 1


OWN = torch.arange(6.0).reshape(3, 2)
HONEST = torch.ones(4, 2)


def build_context(part, client_id):
    return CraftContext(
        generator=torch.Generator(),
        model=torch.zeros(2),
        client_ids=(5, 6, 7) if client_id is None else (client_id,),
        rule=lambda updates: updates.mean(dim=0),
    )


def hand_over(attack, knowledge=None):
    return craft_updates(attack, OWN, HONEST, build_context, client_ids=(5, 6, 7), knowledge=knowledge)


def test_own_knowledge_gets_one_row_at_a_time():
    attack = Recorder(Knowledge.OWN)
    torch.testing.assert_close(hand_over(attack), OWN + 1)
    assert [(own.tolist(), seen, context.client_ids) for own, seen, context in attack.calls] == [
        ([row.tolist()], None, (client_id,)) for row, client_id in zip(OWN, (5, 6, 7), strict=True)
    ]


def test_colluding_gets_all_malicious_rows_and_no_honest_one():
    attack = Recorder(Knowledge.COLLUDING)
    hand_over(attack)
    ((own, seen, context),) = attack.calls
    assert own.tolist() == OWN.tolist()
    assert seen is None
    assert context.client_ids == (5, 6, 7)


def test_omniscient_gets_the_honest_rows_too():
    attack = Recorder(Knowledge.OMNISCIENT)
    hand_over(attack)
    assert attack.calls[0][1].tolist() == HONEST.tolist()


def test_omniscient_without_honest_rows_gets_none():
    attack = Recorder(Knowledge.OMNISCIENT)
    craft_updates(attack, OWN, HONEST[:0], build_context, client_ids=(5, 6, 7))
    assert attack.calls[0][1] is None


@pytest.mark.parametrize("knows", [True, False])
def test_the_rule_is_handed_only_to_those_whose_card_says_so(knows):
    for knowledge in Knowledge:
        attack = Recorder(knowledge, knows_rule=knows)
        hand_over(attack)
        assert all((context.rule is not None) == knows for _, _, context in attack.calls)


@pytest.mark.parametrize("declared", Knowledge)
@pytest.mark.parametrize("override", Knowledge)
def test_an_override_replaces_what_the_card_declares(declared, override):
    attack, plain = Recorder(declared), Recorder(override)
    hand_over(attack, override)
    hand_over(plain)
    assert [(len(own), seen is None) for own, seen, _ in attack.calls] == [
        (len(own), seen is None) for own, seen, _ in plain.calls
    ]


def test_parts_of_a_composite_follow_one_another_each_with_its_own_knowledge():
    first, second = Recorder(Knowledge.OWN), Recorder(Knowledge.OMNISCIENT)
    torch.testing.assert_close(hand_over(Composite((first, Attack(), second))), OWN + 2)
    assert [(len(own), seen is None) for own, seen, _ in first.calls] == [(1, True)] * 3
    ((own, seen, _),) = second.calls
    assert own.tolist() == (OWN + 1).tolist()
    assert seen.tolist() == HONEST.tolist()


def test_nodes_have_to_fit_the_rows():
    with pytest.raises(ValueError, match="expected one per row"):
        craft_updates(Attack(), OWN, HONEST, build_context, client_ids=(1,))


def law_breaker(craft):
    @dataclass(frozen=True, kw_only=True)
    class Breaker(Attack):
        card = AttackCard(paper="-", knowledge=Knowledge.COLLUDING)

        def craft(self, own, seen, context):
            return craft(own, context)

    return Breaker()


@pytest.mark.parametrize(
    ("craft", "fault"),
    [
        (lambda own, context: own.mul_(2), "writes to its arguments"),
        (lambda own, context: own.half(), "sends torch.float16"),
        (lambda own, context: own / 0, "non-finite"),
        (lambda own, context: own + torch.rand(1).to(own.dtype), "same twice"),
    ],
)
def test_the_suite_finds_a_broken_law(craft, fault):
    with pytest.raises(CheckError, match=fault):
        check_attack(law_breaker(craft))


def test_the_suite_names_an_update_of_another_shape():
    with pytest.raises(TypeError, match=r"Breaker returned Tensor of shape \(24,\), expected .* \(1, 24\)"):
        check_attack(law_breaker(lambda own, context: own[0]))


@pytest.mark.parametrize(
    ("space", "fault"),
    [
        (SearchSpace(parameters={"much": (1,)}), r"unknown parameters \['much'\]"),
        (SearchSpace(parameters={"factor": Range(low=0, high=1)}), "has no effect"),
        (SearchSpace(objective="backdoor"), "is not an attack on backdoor"),
    ],
)
def test_the_suite_finds_a_wrong_search_space(space, fault):
    @dataclass(frozen=True, kw_only=True)
    class Scales(Attack):
        card = AttackCard(paper="-")
        search_space = space
        factor: float = 2.0

        def no_effect(self, clients, malicious):
            return "factor is 1" if self.factor == 1 else None

    with pytest.raises(CheckError, match=fault):
        check_attack(Scales())
