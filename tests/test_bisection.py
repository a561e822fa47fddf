"""A coarse grid, then bisection: the smallest whole number that breaks something."""

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from fedpoison.breakdown_result import explore, held_above, next_counts, smallest_broken


@st.composite
def searches(draw):
    """Draw a grid that begins with 0, and a threshold within or beyond it."""
    grid = sorted({0, *draw(st.sets(st.integers(1, 500), min_size=1, max_size=8))})
    return grid, draw(st.integers(0, grid[-1] + 1))


@given(searches())
def test_the_threshold_of_any_step_is_found_with_few_more_runs(search):
    grid, threshold = search
    tried = []

    def play(asked):
        tried.extend(count for _, count in asked)
        return {(key, count): count >= threshold for key, count in asked}

    verdicts = explore({"only": grid}, play)["only"]
    assert smallest_broken(verdicts) == (threshold if threshold <= grid[-1] else None)
    assert held_above(verdicts) == []
    assert tried[: len(grid)] == grid
    assert len(tried) == len(set(tried))
    gap = max(after - before for before, after in itertools.pairwise(grid))
    assert len(tried) - len(grid) <= math.ceil(math.log2(gap))


@given(st.lists(st.booleans(), min_size=2, max_size=60), st.integers(1, 12))
def test_any_curve_ends_beside_a_count_that_held(broke, step):
    broke[0] = False
    grid = sorted({*range(0, len(broke), step), len(broke) - 1})
    verdicts = explore({0: grid}, lambda asked: {(key, count): broke[count] for key, count in asked})[0]
    first = smallest_broken(verdicts)
    if first is None:
        assert not any(broke[count] for count in grid)
    else:
        assert broke[first]
        assert not broke[first - 1]
        assert held_above(verdicts) == [
            count for count in sorted(verdicts) if count > first and not broke[count]
        ]


def test_keys_are_played_together_step_by_step():
    steps = []

    def play(asked):
        steps.append(list(asked))
        return {(key, count): count >= {"a": 3, "b": 7}[key] for key, count in asked}

    explore({"a": [0, 4, 8], "b": [0, 4, 8]}, play)
    assert steps[1:] == [[("a", 2), ("b", 6)], [("a", 3), ("b", 7)]]


def test_a_search_that_breaks_without_attackers_is_over():
    assert next_counts([0, 4], {0: True, 4: True}) == []
