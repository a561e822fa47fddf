"""FLARE weights clients by the inputs of their output layers, which it reads from the models' logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from aggregating import close, normal
from oracles import trust as oracles

from strategies.base import Context, InputError
from strategies.rules.flare import FLARE, discrepancies, representations

PIXELS, WIDTH, CLASSES, IMAGES = 8, 7, 3, 20
LAYOUT = (
    ("hidden.weight", torch.Size([WIDTH, PIXELS])),
    ("output.weight", torch.Size([CLASSES, WIDTH])),
    ("output.bias", torch.Size([CLASSES])),
)
SIZES = [shape.numel() for _, shape in LAYOUT]
D = sum(SIZES)


def hidden(weights, images):
    return (images.flatten(1) @ weights[: SIZES[0]].reshape(WIDTH, PIXELS).T).relu()


def predict(weights, images):
    _, matrix, bias = weights.split(SIZES)
    return hidden(weights, images) @ matrix.reshape(CLASSES, WIDTH).T + bias


def inspected(**changes):
    images = 0.3 * normal(30, 1, 2, PIXELS // 2, seed=4)
    inputs = {"model": normal(D, seed=3), "layout": LAYOUT, "predict": predict, "root_images": lambda: images}
    return Context(**inputs | changes)


def features(rows, context):
    images = context.root_images()[:IMAGES]
    return np.array([hidden(context.model + row, images).numpy() for row in rows])


def test_representations_are_the_inputs_of_the_output_layer():
    rows, context = normal(4, D), inspected()
    close(representations(rows, context, IMAGES), features(rows, context))


def test_the_discrepancy_is_that_of_the_library():
    points = normal(3, 6, 2)
    got = discrepancies(points)
    for i, j in [(0, 1), (1, 2), (2, 0)]:
        close(got[i, j], oracles.mmd(points[i].numpy(), points[j].numpy()))


@pytest.mark.parametrize("temperature", [0.3, 1.0])
@pytest.mark.parametrize("n", [6, 9])
def test_flare_is_the_authors(n, temperature):
    rows, context = normal(n, D, seed=n), inspected()
    result = FLARE(images=IMAGES, temperature=temperature)(rows, None, context)
    trust = oracles.flare(features(rows, context), temperature)
    close(result.trust, trust)
    close(result.update, trust @ rows.numpy())


def test_flare_trusts_models_that_see_other_things_least():
    rows = 0.1 * normal(10, D)
    rows[:2, : SIZES[0]] += 3 * normal(2, SIZES[0], seed=8)
    trust = FLARE(temperature=0.2)(rows, None, inspected()).trust
    assert float(trust[:2].max()) < 0.1 * float(trust[2:].max())


@pytest.mark.parametrize("n", [1, 2, 5])
def test_equal_models_have_equal_trust(n):
    assert FLARE()(normal(1, D).expand(n, D), None, inspected()).trust.tolist() == pytest.approx([1 / n] * n)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"predict": None}, "got none to inspect"),
        ({"root_images": None}, "root images: got none"),
        ({"layout": (("flat", torch.Size([D])),)}, "got no output layer"),
    ],
)
def test_what_is_missing_is_named(changes, fault):
    with pytest.raises(InputError, match=fault):
        FLARE()(normal(3, D), None, inspected(**changes))
