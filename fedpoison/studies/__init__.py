"""Studies that run many scenarios for one answer, and the built-in ones as TOML files in `library`."""

from typing import TYPE_CHECKING

from fedpoison.registry import lazy_names

if TYPE_CHECKING:
    from fedpoison.studies.attack_search import parse_objective as parse_objective
    from fedpoison.studies.attack_search import search as search
    from fedpoison.studies.breakdown_point import breakdown as breakdown
    from fedpoison.studies.breakdown_result import Breakdown as Breakdown
    from fedpoison.studies.breakdown_result import criterion as criterion
    from fedpoison.studies.comparison import Comparison as Comparison
    from fedpoison.studies.comparison import compare as compare
    from fedpoison.studies.search_result import SearchResult as SearchResult
    from fedpoison.studies.study import Study as Study
    from fedpoison.studies.study import find_study as find_study
    from fedpoison.studies.study_figure import write_figure as write_figure
    from fedpoison.studies.study_result import StudyResults as StudyResults
    from fedpoison.studies.study_runner import plan as plan
    from fedpoison.studies.study_runner import sweep as sweep
    from fedpoison.studies.tuning import tune as tune
    from fedpoison.studies.tuning_result import Tuning as Tuning

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "fedpoison.studies.attack_search": ["parse_objective", "search"],
        "fedpoison.studies.breakdown_point": ["breakdown"],
        "fedpoison.studies.breakdown_result": ["Breakdown", "criterion"],
        "fedpoison.studies.comparison": ["Comparison", "compare"],
        "fedpoison.studies.search_result": ["SearchResult"],
        "fedpoison.studies.study": ["Study", "find_study"],
        "fedpoison.studies.study_figure": ["write_figure"],
        "fedpoison.studies.study_result": ["StudyResults"],
        "fedpoison.studies.study_runner": ["plan", "sweep"],
        "fedpoison.studies.tuning": ["tune"],
        "fedpoison.studies.tuning_result": ["Tuning"],
    },
)
