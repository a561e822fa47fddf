"""The training loop in ByzFL's README: four clients, one of them malicious."""

from __future__ import annotations

from fedpoison.reproduction.byzfl_heatmap import BYZFL
from fedpoison.reproduction.study import Cell, Study, after
from fedpoison.scenario import Scenario

FLEET = Scenario.parse(
    BYZFL
    | {
        "clients": 4,
        "malicious_count": 1,
        "attack": "ipm(epsilon=3)",
        "partition": "dirichlet(alpha=0.5)",
        "strategy": "clipping(threshold=0.2) | nnm | trimmed-mean",
        "rounds": 1000,
        "evaluate_every": 100,
    }
)
PUBLISHED = {
    100: 0.6375,
    200: 0.8148,
    300: 0.9318,
    400: 0.8588,
    500: 0.9537,
    600: 0.9185,
    700: 0.9511,
    800: 0.9400,
    900: 0.9781,
    1000: 0.9733,
}

BYZFL_QUICKSTART = Study(
    name="byzfl-quickstart",
    title="ByzFL's README: trimmed mean behind clipping and NNM under IPM",
    cells=[
        Cell(name=f"round{number}", scenarios=[FLEET], reading=after(number), published=share)
        for number, share in PUBLISHED.items()
    ],
    seeds=(0,),
    remarks=(
        "One run with one seed was published, and who holds what is drawn otherwise here.",
        "With three honest clients curves differ from seed to seed by more than the point that is allowed.",
        "ByzFL decays the weights at the server, ours at the clients, before momentum and clipping.",
    ),
)
