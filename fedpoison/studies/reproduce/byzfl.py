"""Results of ByzFL: the heat maps of its documentation, and the training loop of its README.

The heat maps show the accuracy by the number of attackers and the heterogeneity. The loop trains four
clients, one of them malicious.
"""

from __future__ import annotations

from collections.abc import Iterator

from fedpoison.scenario.scenario import Scenario
from fedpoison.studies.reproduce.publication import Publication, PublishedValue, after, best

HONEST = 10
BYZFL = {
    "dataset": "mnist",
    "model": "cnn-byzfl",
    "malicious_partition": "iid",
    "steps": 1,
    "batch_size": 25,
    "lr": 0.01,
    "momentum": 0.9,
    "persistent_momentum": True,
    "weight_decay": 0.0001,
}
"""ByzFL's momentum is m = 0.9 m + 0.1 g at lr = 0.1. Ours is m = 0.9 m + g, with equal steps at lr = 0.01.
Our updates are 0.1 times ByzFL's vectors, and so are the thresholds of the strategies."""

RULES = {
    "trimmed-mean": "trimmed-mean",
    "geometric-median": "geometric-median(nu=0.01, iterations=3, tolerance=0, start=zero)",
}
ATTACKS = ("ipm(epsilon=1)", "optimal-ipm", "optimal-alie(correction=1)")

PUBLISHED: dict[str, dict[float, tuple[float, ...]]] = {
    "trimmed-mean": {
        0: (0.87, 0.61, 0.26, 0.21),
        0.33: (0.98, 0.97, 0.94, 0.91),
        0.66: (0.98, 0.97, 0.97, 0.97),
        1: (0.98, 0.98, 0.98, 0.98),
    },
    "geometric-median": {
        0: (0.87, 0.56, 0.26, 0.27),
        0.33: (0.98, 0.96, 0.94, 0.94),
        0.66: (0.98, 0.97, 0.97, 0.96),
        1: (0.98, 0.98, 0.98, 0.97),
    },
}
"""By rule and share of IID data: accuracy with 1, 2, 3 and 4 malicious clients."""


def _cells() -> Iterator[PublishedValue]:
    for rule, rows in PUBLISHED.items():
        for gamma, shares in rows.items():
            for malicious, share in enumerate(shares, start=1):
                federation = Scenario.parse(
                    BYZFL
                    | {
                        "train_samples": 48_000,
                        "rounds": 800,
                        "evaluate_every": 50,
                        "clients": HONEST + malicious,
                        "malicious_count": malicious,
                        "partition": f"similarity(gamma={gamma})",
                        "strategy": f"clipping(threshold=0.2) | nnm | {RULES[rule]}",
                    }
                )
                yield PublishedValue(
                    name=f"{rule}/gamma{gamma}/f{malicious}",
                    scenarios=[federation.replace(attack=attack) for attack in ATTACKS],
                    reading=best,
                    published=share,
                )


BYZFL_HEATMAP = Publication(
    name="byzfl-heatmap",
    title="ByzFL's heat maps: two rules behind clipping and NNM, under the worst of three attacks",
    cells=list(_cells()),
    seeds=(0, 1, 2),
    remarks=(
        "A number is the largest mean over the seeds of all evaluations, as published.",
        "It is rounded and has no deviation, so the margin is one point.",
        "ByzFL decays the weights on the server; fedpoison on the clients, before momentum and clipping.",
        "fedpoison samples each batch from all samples of a client; ByzFL splits a permutation of them.",
    ),
)


QUICKSTART = Scenario.parse(
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
QUICKSTART_ACCURACY = {
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

BYZFL_QUICKSTART = Publication(
    name="byzfl-quickstart",
    title="ByzFL's README: trimmed mean behind clipping and NNM under IPM",
    cells=[
        PublishedValue(name=f"round{number}", scenarios=[QUICKSTART], reading=after(number), published=share)
        for number, share in QUICKSTART_ACCURACY.items()
    ],
    seeds=(0,),
    remarks=(
        "ByzFL published one run with one seed; fedpoison draws another partition of the data.",
        "With three honest clients, curves differ between seeds by more than the margin of one point.",
        "ByzFL decays the weights on the server; fedpoison on the clients, before momentum and clipping.",
    ),
)
