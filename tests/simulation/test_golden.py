"""A golden run: what one lively scenario gave when it was recorded, and has to give from then on.

After a change that is meant to change results, record it again:
`python tests/simulation/test_golden.py`. What is drawn has to be equal; what is computed
may differ as far as another type of processor rounds differently.
"""

import json
from pathlib import Path

import pytest

from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.run import simulate

GOLDEN = Path(__file__).parents[1].joinpath("golden.json")
DRAWN = ("sampled", "malicious", "dropped")


def played() -> list[dict]:
    scenario = Scenario(
        dataset="digits",
        clients=10,
        rounds=4,
        participation=0.8,
        partition="dirichlet(alpha=0.5)",
        batch_size=16,
        lr=0.05,
        momentum=0.5,
        attack="label-flip(mode=targeted, source=1, target=7)+scaled-update(factor=3)",
        malicious=0.3,
        strategy="multi-krum",
        tolerated=2,
    )
    return [
        {
            "round": record.round,
            "accuracy": round(record.accuracy, 4),
            "per_class_accuracy": [round(value, 4) for value in record.per_class_accuracy],
            "loss": round(record.loss, 4),
            "source_to_target_rate": round(record.source_to_target_rate, 4),
            "trust": {
                str(client_id): round(share, 4) for client_id, share in (record.training.trust or {}).items()
            },
            **{name: getattr(record.training, name) for name in DRAWN},
        }
        for record in simulate(scenario, workers=2).records
    ]


def test_the_golden_run_comes_out_as_it_was_recorded():
    golden, now = json.loads(GOLDEN.read_text()), played()
    assert len(now) == len(golden)
    for then, here in zip(golden, now, strict=True):
        assert {name: here[name] for name in DRAWN} == {name: then[name] for name in DRAWN}
        assert here["trust"] == then["trust"]
        assert here["accuracy"] == pytest.approx(then["accuracy"], abs=0.01)
        assert here["per_class_accuracy"] == pytest.approx(then["per_class_accuracy"], abs=0.06)
        assert here["loss"] == pytest.approx(then["loss"], rel=0.02)
        assert here["source_to_target_rate"] == pytest.approx(then["source_to_target_rate"], abs=0.06)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(played(), indent=1) + "\n")
