"""Published results, reproduced cell by cell: ours beside theirs, the difference, and a verdict."""

from fedpoison.reproduction.bucketing import BUCKETING
from fedpoison.reproduction.byzfl import BYZFL_HEATMAP, BYZFL_QUICKSTART
from fedpoison.reproduction.study import CellResult, Publication, PublishedValue, reproduce

STUDIES: dict[str, Publication] = {
    study.name: study for study in (BUCKETING, BYZFL_HEATMAP, BYZFL_QUICKSTART)
}

__all__ = ["STUDIES", "CellResult", "Publication", "PublishedValue", "reproduce"]
