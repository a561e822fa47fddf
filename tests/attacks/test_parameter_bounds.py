"""Bounds that field types declare are checked when an attack is built."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, ClassVar

import pytest

from clients.attacks.base import Attack, AttackCard
from clients.bounds import (
    Bounds,
    Count,
    OpenShare,
    Positive,
    PositiveCount,
    PositiveShare,
    Share,
    ShareBelowOne,
)
from fedpoison.errors import ScenarioError
from fedpoison.scenario.registries import build_attack


@dataclass(frozen=True, kw_only=True)
class Bounded(Attack):
    card: ClassVar = AttackCard(paper="-")
    share: Share = 0.5
    inner: OpenShare = 0.5
    below: ShareBelowOne = 0.5
    reached: PositiveShare = 1.0
    factor: Positive | None = None
    count: Count = 0
    least: PositiveCount = 1
    target: Annotated[int, Bounds(at_least=-1)] = -1
    free: float = -3.0


@dataclass(frozen=True, kw_only=True)
class Narrower(Bounded):
    share: Annotated[float, Bounds(at_least=0.5)] = 0.5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"share": 1.1}, "share: got 1.1, expected 0 to 1."),
        ({"share": float("nan")}, "share: got nan, expected 0 to 1."),
        ({"inner": 0.0}, "inner: got 0.0, expected more than 0 and less than 1."),
        ({"inner": 1.0}, "inner: got 1.0, expected more than 0 and less than 1."),
        ({"reached": 0.0}, "reached: got 0.0, expected more than 0 and at most 1."),
        ({"factor": 0.0}, "factor: got 0.0, expected more than 0."),
        ({"count": -1}, "count: got -1, expected 0 or more."),
        ({"least": 0}, "least: got 0, expected 1 or more."),
        ({"target": -2}, "target: got -2, expected -1 or more."),
        ({"factor": float("inf")}, "factor: got inf, expected a finite number."),
        ({"free": float("nan")}, "free: got nan, expected a finite number."),
        ({"free": float("-inf")}, "free: got -inf, expected a finite number."),
        ({"below": 1.0}, "below: got 1.0, expected 0 or more and less than 1."),
        ({"count": 10**19}, rf"count: got {10**19}, expected at most 9.2e\+18 in size \(int64\)."),
        ({"free": -1e39}, r"free: got -1e\+39, expected at most 3.4e\+38 in size \(float32\)."),
    ],
    ids=repr,
)
def test_a_value_outside_its_bounds_is_refused(values, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Bounded(**values)


def test_values_at_their_bounds_are_taken():
    Bounded(share=0, reached=1, factor=None, count=0, least=1, target=-1, free=-100)
    Bounded(share=1, factor=0.1)


def test_a_subclass_declares_bounds_of_its_own():
    with pytest.raises(ValueError, match="share: got 0.4, expected 0.5 or more"):
        Narrower(share=0.4)
    assert Bounded(share=0.4).share == 0.4


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (f"backdoor(size={10**20})", f"size: got {10**20}, expected at most"),
        ("neurotoxin(top=1.0)", "top: got 1.0, expected 0 or more and less than 1"),
        ("clean-label(opacity=1.0)", "opacity: got 1.0, expected 0 or more and less than 1"),
        ("optimal-alie(step=0.0)", "step: got 0.0, expected more than 0"),
        ("optimal-ipm(step=-1.0)", "step: got -1.0, expected more than 0"),
    ],
)
def test_an_end_of_a_range_without_use_is_refused(spec, message):
    with pytest.raises(ScenarioError, match=re.escape(message)):
        build_attack(spec)
