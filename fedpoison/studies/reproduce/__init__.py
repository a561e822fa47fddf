"""Published results, reproduced number by number: our value, the published value and the difference."""

from fedpoison.studies.reproduce.bucketing import BUCKETING
from fedpoison.studies.reproduce.byzfl import BYZFL_HEATMAP, BYZFL_QUICKSTART
from fedpoison.studies.reproduce.publication import CellResult, Publication, PublishedValue, reproduce

STUDIES: dict[str, Publication] = {
    study.name: study for study in (BUCKETING, BYZFL_HEATMAP, BYZFL_QUICKSTART)
}

__all__ = ["STUDIES", "CellResult", "Publication", "PublishedValue", "reproduce"]
