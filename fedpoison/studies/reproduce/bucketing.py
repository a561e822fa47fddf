"""Karimireddy, He, Jaggi, "Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing", ICLR 2022."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fedpoison.scenario.scenario import Scenario
from fedpoison.studies.reproduce.publication import Publication, PublishedValue, mean_of_last

BASE = Scenario(
    dataset="mnist",
    model="cnn-bucketing",
    clients=25,
    malicious_count=5,
    partition="sorted",
    malicious_partition="iid",
    steps=1,
    batch_size=32,
    lr=0.01,
    rounds=600,
    evaluate_every=30,
    dropout_seed=0,
)
"""The authors' simulator resets its random state after each worker, so all steps share one dropout mask."""

RULES = {
    "average": "fedavg",
    "krum": "krum(power=4)",
    "median": "median",
    "rfa": "geometric-median(nu=0.001, iterations=8, tolerance=0, start=zero)",
    "cclip": "centered-clipping(tau=0.1, iterations=3)",
}
"""The authors' rules aggregate gradients, ours updates of lr = 0.01 times a gradient. So nu and tau are 0.01
times the published values."""

ATTACKS: dict[str, dict[str, Any]] = {
    "bit-flip": {"attack": "sign-flip"},
    "label-flip": {"attack": "label-flip"},
    "mimic": {"attack": "mimic", "malicious_count": None, "malicious_nodes": tuple(range(20, 25))},
    "ipm": {"attack": "ipm"},
    "alie": {"attack": "alie(direction=1, correction=1)", "knowledge": "omniscient"},
}

SEEDS = (0, 1, 2)
MeanAndDeviation = tuple[float, float]

SORTED: dict[tuple[int, str], tuple[MeanAndDeviation, ...]] = {
    (0, "krum"): ((27.85, 7.10), (1.03, 0.06), (37.33, 6.78), (36.93, 1.90), (78.88, 4.67)),
    (0, "median"): ((37.15, 8.58), (35.57, 11.94), (64.27, 3.70), (50.27, 2.98), (78.92, 4.64)),
    (0, "rfa"): ((68.75, 2.67), (90.34, 0.84), (78.93, 9.27), (14.61, 8.48), (79.66, 18.3)),
    (0, "cclip"): ((75.19, 0.26), (90.93, 0.79), (91.53, 0.06), (91.82, 0.21), (91.11, 0.45)),
    (2, "krum"): ((45.11, 7.11), (20.19, 1.78), (53.15, 3.96), (54.09, 1.38), (72.54, 26.41)),
    (2, "median"): ((46.92, 3.53), (52.68, 9.51), (78.60, 3.15), (67.52, 5.44), (86.87, 1.17)),
    (2, "rfa"): ((87.63, 2.40), (91.60, 0.39), (91.17, 0.51), (90.60, 0.50), (91.18, 0.51)),
    (2, "cclip"): ((91.66, 0.22), (91.83, 0.32), (92.56, 0.21), (92.63, 0.21), (91.26, 0.19)),
}
"""By bucket size (0: no bucketing) and rule: mean and deviation under each of `ATTACKS`, in per cent, from
the authors' logs of three seeds."""

MIMIC: dict[tuple[str, int, str], MeanAndDeviation] = {
    ("iid", 0, "average"): (93.20, 0.21),
    ("iid", 0, "krum"): (90.36, 0.25),
    ("iid", 0, "median"): (90.80, 0.12),
    ("iid", 0, "rfa"): (92.92, 0.25),
    ("iid", 0, "cclip"): (93.16, 0.22),
    ("iid", 2, "average"): (93.17, 0.23),
    ("iid", 2, "krum"): (91.64, 0.30),
    ("iid", 2, "median"): (91.91, 0.24),
    ("iid", 2, "rfa"): (93.00, 0.23),
    ("iid", 2, "cclip"): (93.17, 0.23),
    ("sorted", 0, "average"): (92.73, 0.32),
    ("sorted", 2, "average"): (92.67, 0.27),
}
"""Mean and deviation under mimicry, with IID clients or the plain average, in per cent."""

MIMICKED = {"sorted": (14, 17, 1), "iid": (2, 4, 12)}
"""Mimicked honest worker of each seed, from the authors' logs. The choice changes the result a lot."""


def _cells() -> Iterator[PublishedValue]:
    for (size, rule), numbers in SORTED.items():
        for attack, number in zip(ATTACKS, numbers, strict=True):
            yield _cell("sorted", size, rule, attack, number)
    for (partition, size, rule), number in MIMIC.items():
        yield _cell(partition, size, rule, "mimic", number)


def _cell(partition: str, size: int, rule: str, attack: str, number: MeanAndDeviation) -> PublishedValue:
    strategy = f"bucketing(size={size}) | {RULES[rule]}" if size else RULES[rule]
    mean, deviation = number
    return PublishedValue(
        name=f"{partition}/s{size}/{rule}/{attack}",
        scenarios=[BASE.replace(partition=partition, strategy=strategy, **ATTACKS[attack])],
        reading=mean_of_last(5),
        published=mean / 100,
        deviation=deviation / 100,
        by_seed={seed: _own(seed, partition, attack) for seed in SEEDS},
    )


def _own(seed: int, partition: str, attack: str) -> dict[str, Any]:
    """Return the fields that depend on the seed in the authors' runs."""
    copied = {"attack": f"mimic(node={MIMICKED[partition][seed]})"} if attack == "mimic" else {}
    return {"dropout_seed": seed} | copied


BUCKETING = Publication(
    name="bucketing",
    title="Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing (Karimireddy et al., ICLR 2022)",
    cells=list(_cells()),
    seeds=SEEDS,
    remarks=(
        "The runs have no worker momentum (beta = 0).",
        "The mimicked worker of each seed is from the authors' logs.",
        "fedpoison samples each batch from all samples of a client; the authors split a permutation of them.",
        "The authors' malicious workers change their IID shard every 30 rounds; here they keep it.",
        "One dropout mask serves all steps, as in the paper, but no log of the authors contains the mask.",
    ),
)
