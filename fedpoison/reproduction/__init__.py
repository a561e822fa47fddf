"""Published results, reproduced cell by cell: ours beside theirs, the difference, and a verdict."""

from fedpoison.reproduction.bucketing import BUCKETING
from fedpoison.reproduction.byzfl import BYZFL_HEATMAP, BYZFL_QUICKSTART
from fedpoison.reproduction.study import Cell, Outcome, Study, reproduce

STUDIES: dict[str, Study] = {study.name: study for study in (BUCKETING, BYZFL_HEATMAP, BYZFL_QUICKSTART)}

__all__ = ["STUDIES", "Cell", "Outcome", "Study", "reproduce"]
