"""When attackers attack: the laws of schedules, and each one's rounds counted by hand."""

import dataclasses

import pytest

from fedpoison.errors import ScenarioError
from fedpoison.schedules import SCHEDULES, read_schedule

ROUNDS = range(1, 61)
SPECS = [
    *SCHEDULES,
    "window(start=3, stop=8, every=2)",
    "window(start=5)",
    "window(every=7)",
    "once(round=5)",
    "sleeper(until=10)",
    "rotating(every=5)",
    "rotating(every=3, start=4, stop=20)",
]


@pytest.mark.parametrize("spec", SPECS)
def test_the_laws(spec):
    schedule, again = read_schedule(spec).value, read_schedule(spec).value
    assert dataclasses.is_dataclass(schedule)
    assert schedule == again
    assert hash(schedule) == hash(again)
    forwards = [(schedule.active(number), schedule.turn(number)) for number in ROUNDS]
    backwards = [(again.active(number), again.turn(number)) for number in reversed(ROUNDS)]
    assert forwards == backwards[::-1]  # the round alone decides, not what was asked before
    turns = [turn for _, turn in forwards]
    assert all(isinstance(active, bool) for active, _ in forwards)
    assert set(turns) == {None} or all(isinstance(turn, int) for turn in turns)
    if turns[0] is not None:
        assert turns == sorted(turns)
        assert turns[0] >= 0


@pytest.mark.parametrize(
    ("spec", "rounds"),
    [
        ("always", list(range(1, 61))),
        ("window(start=3, stop=8, every=2)", [3, 5, 7]),
        ("window(start=3, stop=7, every=2)", [3, 5, 7]),
        ("window(start=58)", [58, 59, 60]),
        ("window(every=20)", [1, 21, 41]),
        ("once(round=5)", [5]),
        ("once", [1]),
        ("sleeper(until=59)", [59, 60]),
        ("rotating(every=5)", list(range(1, 61))),
        ("rotating(every=5, start=4, stop=6)", [4, 5, 6]),
    ],
)
def test_the_rounds_of_each(spec, rounds):
    schedule = read_schedule(spec).value
    assert [number for number in ROUNDS if schedule.active(number)] == rounds


def test_a_rotating_group_is_drawn_anew_every_so_many_rounds():
    plain, late = read_schedule("rotating(every=4)").value, read_schedule("rotating(every=2, start=3)").value
    assert [plain.turn(number) for number in range(1, 10)] == [0, 0, 0, 0, 1, 1, 1, 1, 2]
    assert [late.turn(number) for number in range(1, 8)] == [0, 0, 0, 0, 1, 1, 2]


def test_the_registry_is_sorted_and_spells_what_it_reads():
    assert list(SCHEDULES) == sorted(SCHEDULES)
    for spec in SPECS:
        assert read_schedule(read_schedule(spec)).value == read_schedule(spec).value
    assert read_schedule("window( stop = none, start = 1 )") == "window"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("windw(start=3)", "unknown schedule 'windw': did you mean 'window'"),
        ("window(begin=3)", "unknown knob of window 'begin'.*Choose from every, start, stop"),
        ("window(start=0)", "start: got 0, wanted at least 1"),
        ("window(every=0)", "every: got 0, wanted at least 1"),
        ("window(start=5, stop=4)", "stop: got round 4, wanted at least start, round 5"),
        ("once(round=0)", "round: got 0"),
        ("sleeper(until=0)", "until: got 0"),
        ("rotating(every=0)", "every: got 0"),
        ("rotating(start=9, stop=3)", "stop: got round 3"),
        ("always(start=1)", "always has no knobs"),
        ("window(start=soon)", "start: .*valid integer.*got 'soon'"),
    ],
)
def test_what_is_wrong_is_said_with_the_remedy(spec, words):
    with pytest.raises(ScenarioError, match=words):
        read_schedule(spec)
