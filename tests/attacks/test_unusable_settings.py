"""Settings in which an attack cannot work are refused before the run: every registered attack."""

import pytest
import torch
from torch import nn

import fedpoison as fp
from clients import ATTACKS
from clients.attacks.base import AttackSetting
from clients.attacks.composite import Composite
from clients.attacks.data.backdoor import Square, Trigger
from clients.attacks.updates.simple_updates import SignFlip
from clients.training import LocalTraining, Samples
from fedpoison.errors import ScenarioError
from fedpoison.federation.federation import Federation
from fedpoison.scenario.scenario import Scenario

TINY = Scenario(
    dataset="digits", train_samples=100, test_samples=20, clients=5, rounds=1, model="mlp-small",
    malicious_nodes=(1, 3), strategy="median",
)  # fmt: skip
FEW = TINY.replace(train_samples=5)
PRESENT = sorted(set(Federation.load(FEW).train.labels.tolist()))
ABSENT = next(label for label in range(10) if label not in PRESENT)
NOT_PIXELS = {
    "dataset": (torch.rand(80, 8).numpy(), (torch.arange(80) % 8).numpy()),
    "train_samples": 0,
    "test_samples": 0,
}
DARK_CORNER = NOT_PIXELS | {
    "dataset": (nn.functional.pad(torch.rand(80, 6, 6), (0, 2, 0, 2)).numpy(), NOT_PIXELS["dataset"][1])
}
WORDS = Samples(torch.arange(8).repeat(100, 1), torch.arange(100) % 10, 10)
TOKENS = {
    "dataset": (WORDS, WORDS[torch.arange(20)]),
    "model": nn.Sequential(nn.Embedding(20, 2), nn.Flatten(), nn.Linear(16, 10)),
}
NO_CLASSIFIER = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Tanh())
NEEDS_IMAGES = r"changes or measures pixels, and the samples of the data set have the shape \(8,\)"
HIDES = "the trigger hides 5.% of an image of 28x28, expected at most 50%"
ABSENT_CLASS = f"got class {ABSENT}, of which no client has a training sample, expected one of"
FITS = "gap 2, offset 25, expected one that fits on images of 28x28"
NEEDS_LINEAR = "got Sequential, expected a model whose output is that of an nn.Linear"
NEEDS_RULE = "needs the server's rule, and Flower's strategies have none"
FLOWER = {"strategy": "flwr:FedMedian"}
SQUARES = [name for name, kind in ATTACKS.items() if issubclass(kind, Square)]
TRIGGERS = [name for name, kind in ATTACKS.items() if issubclass(kind, Trigger)]
TABLE = [
    *[(name, NOT_PIXELS, NEEDS_IMAGES) for name in TRIGGERS],
    *[(f"{name}(size=20)", {}, HIDES) for name in [*SQUARES, "adaptive-trigger"]],
    *[(f"{name}(target=10)", {}, "target: got class 10, expected 0 to 9") for name in TRIGGERS],
    *[(name, FLOWER, NEEDS_RULE) for name, kind in ATTACKS.items() if kind.card.knows_rule],
    ("backdoor(size=2, value=0.0)", DARK_CORNER, "the trigger changes no pixel of 64 images"),
    ("blended(alpha=1.0)", {}, "the trigger hides 100% of an image"),
    (
        "distributed-backdoor(offset=25)",
        {},
        f"trigger: got length 4, {FITS}",
    ),
    ("chameleon", {"model": NO_CLASSIFIER}, NEEDS_LINEAR),
    ("clean-label", {"model": NO_CLASSIFIER}, NEEDS_LINEAR),
    ("clean-label", NOT_PIXELS, NEEDS_IMAGES),
    (f"clean-label(source={ABSENT}, target={PRESENT[0]})", {"train_samples": 5}, f"source: {ABSENT_CLASS}"),
    (f"clean-label(source={PRESENT[0]}, target={ABSENT})", {"train_samples": 5}, f"target: {ABSENT_CLASS}"),
    (f"edge-case(source={ABSENT}, target={PRESENT[0]})", {"train_samples": 5}, f"source: {ABSENT_CLASS}"),
    ("edge-case(source=12)", {}, "source: got class 12"),
    ("edge-case(dataset=digits)", NOT_PIXELS, NEEDS_IMAGES),
    ("edge-case(dataset=digits, source=12)", {}, "source: got class 12, of which the training set of digits"),
    ("identical-coordinate(coordinate=999999999)", {}, "coordinate: got 999999999, expected one of [0-9]"),
    ("inject", NOT_PIXELS, NEEDS_IMAGES),
    ("inject(target=12)", {}, "target: got class 12"),
    ("label-flip(mode=all-to-one, target=12)", {}, "target: got class 12"),
    (
        f"label-flip(mode=targeted, source={ABSENT}, target=3)",
        {"train_samples": 5},
        f"source: {ABSENT_CLASS}",
    ),
    ("mimic(node=5)", {}, "node: got client 5, expected 0 to 4"),
    ("neurotoxin(top=0.9999999)", {}, "top: got 0.9999999, which leaves none of"),
    ("three-d-fed", {"model": NO_CLASSIFIER}, NEEDS_LINEAR),
    ("wanet(strength=100.0)", {}, "the warp loses [0-9]+% of an image of 28x28, expected at most 50%"),
    ("token-backdoor", {}, r"changes tokens, .* the shape \(1, 28, 28\) and the type float32; read"),
    ("token-backdoor", NOT_PIXELS, r"changes tokens, .* the shape \(8,\) and the type float32; read"),
    ("token-backdoor(tokens=1 2 3 4 5)", TOKENS, "tokens: got 5, and a sample has 8, .* at most 50%"),
    ("token-backdoor(tokens=7 20)", TOKENS, "tokens: got 7 20, and the model does not know one of them"),
    ("token-backdoor(target=10)", TOKENS, "target: got class 10, expected 0 to 9"),
    ("pixel-noise", NOT_PIXELS, NEEDS_IMAGES),
    ("pixel-perturbation", NOT_PIXELS, NEEDS_IMAGES),
    ("semantic-backdoor", NOT_PIXELS, NEEDS_IMAGES),
    (f"sig(target={ABSENT})", {"train_samples": 5}, f"target: {ABSENT_CLASS}"),
]
"""Attack, changes of the scenario, and the error."""
NEVER_REFUSED = {
    "alie", "anti-clipped-clustering", "anti-signguard", "claimed-examples", "fang-trimmed-mean",
    "free-rider", "gaussian-update", "ipm", "min-max", "min-sum", "mpaf", "non-finite-update",
    "partial-drop", "poisoned-fl", "random-update", "rop", "scaled-update", "sign-flip", "sparse-alie",
    "zero-update",
}  # fmt: skip
"""Attacks that work on any data and any model, with any training and any strategy."""


def test_every_attack_is_in_the_table_or_works_in_every_setting():
    refused = {attack.partition("(")[0] for attack, _, _ in TABLE}
    assert refused | NEVER_REFUSED == ATTACKS.keys() - {"none"}
    assert not refused & NEVER_REFUSED


@pytest.mark.parametrize(
    ("attack", "changes", "words"), TABLE, ids=[str(place) for place in range(len(TABLE))]
)
def test_a_setting_in_which_an_attack_cannot_work_is_refused_before_the_run(attack, changes, words):
    def stop(record):
        pytest.fail(f"round {record.round} was run")

    name = attack.partition("(")[0]
    with pytest.raises(ScenarioError, match=f"attack {name}.*: {words}"):
        fp.simulate(TINY, attack=attack, on_round=stop, **changes)


@pytest.mark.parametrize("name", sorted(NEVER_REFUSED))
def test_other_attacks_work_on_few_features_without_a_classifier(name):
    """On features, with the strategy of Flower and training that other attacks cannot use."""
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
    training = {"weight_decay": 0.01, "proximal": 0.1, "momentum": 0.9, "persistent_momentum": True}
    history = fp.simulate(TINY, attack=name, model=model, **NOT_PIXELS, **FLOWER, **training)
    assert history.last.round == 1


def test_the_attack_of_the_goal_is_checked_as_well():
    with pytest.raises(ScenarioError, match=f"attack backdoor.size=20.: {HIDES}"):
        fp.simulate(TINY, goal="backdoor(size=20)")


def test_each_part_of_a_composition_is_checked():
    attack = Composite(parts=(SignFlip(), fp.attacks.Mimic(node=5)))
    with pytest.raises(ScenarioError, match=r"attack sign-flip.mimic.node=5.: node: got client 5"):
        fp.simulate(TINY, attack=attack)
    setting = AttackSetting(
        samples=Federation.load(TINY).train,
        class_counts=None,
        training=LocalTraining(),
        layout=(),
        clients=5,
        malicious=2,
        trainer=lambda: pytest.fail("no part needs a trainer"),
    )
    with pytest.raises(ValueError, match="node: got client 5"):
        attack.check(setting)


def test_the_command_line_prints_the_reason_and_writes_no_run(fedpoison, tmp_path):
    options = ["--dataset", "digits", "--clients", 5, "--out", tmp_path / "runs"]
    code, out, err = fedpoison("run", *options, "--attack", "backdoor(size=20)")
    assert (code, out) == (2, "")
    assert "error: attack backdoor(size=20): the trigger hides 51% of an image of 28x28" in err
    assert not (tmp_path / "runs").exists()
