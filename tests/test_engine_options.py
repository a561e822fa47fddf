"""What an engine cannot do is refused before anything is loaded."""

import pytest

from fedpoison.engine_options import EngineOptions
from fedpoison.errors import ScenarioError


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"engine": "Ray"}, "unknown engine 'Ray'.* Choose from flower, local, ray"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"workers": 0}, "workers: got 0, wanted at least 1"),
        ({"cohort": -1}, "cohort: got -1, wanted at least 1"),
        ({"engine": "ray", "deterministic": True}, "deterministic: got engine ray"),
        ({"ray_address": "auto"}, "got engine local, wanted ray"),
        ({"engine": "flower", "workers": 2}, "got engine flower"),
    ],
)
def test_impossible_options_are_refused(options, words):
    with pytest.raises(ScenarioError, match=words):
        EngineOptions(**options)
