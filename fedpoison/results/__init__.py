"""Results of a run: rounds, metrics, the run store and trackers.

The names load on first use, so that modules which need only one of them do not load pandas.
"""

from typing import TYPE_CHECKING

from fedpoison.registry import lazy_names

if TYPE_CHECKING:
    from fedpoison.results.history import History as History
    from fedpoison.results.round import Evaluation as Evaluation
    from fedpoison.results.round import Failure as Failure
    from fedpoison.results.round import GroupRecord as GroupRecord
    from fedpoison.results.round import OnRound as OnRound
    from fedpoison.results.round import Round as Round
    from fedpoison.results.round import Training as Training
    from fedpoison.results.run_writer import RunWriter as RunWriter
    from fedpoison.results.runs import Runs as Runs
    from fedpoison.results.store import StoredRun as StoredRun

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "fedpoison.results.history": ["History"],
        "fedpoison.results.round": ["Evaluation", "Failure", "GroupRecord", "OnRound", "Round", "Training"],
        "fedpoison.results.run_writer": ["RunWriter"],
        "fedpoison.results.runs": ["Runs"],
        "fedpoison.results.store": ["StoredRun"],
    },
)
