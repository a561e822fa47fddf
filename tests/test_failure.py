"""Why a run failed is told in one line."""

import pytest

from fedpoison.errors import EngineError, RefusalError
from fedpoison.rounds import Failure


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (
            EngineError("Flower's run ended after 2 rounds:\nround 3\n  no node left\n"),
            Failure("Flower's run ended after 2 rounds: round 3 no node left"),
        ),
        (
            RefusalError("round 2: krum needs\nmore"),
            Failure("round 2: krum needs more", aggregation_failed=True),
        ),
        (ZeroDivisionError("of all things\nand more"), Failure("ZeroDivisionError: of all things")),
        (KeyError(), Failure("KeyError: ")),
    ],
)
def test_a_reason_is_one_line(error, failure):
    """What we raise is told whole, such as a log's end; of any other error, the first line."""
    assert Failure.of(error) == failure
