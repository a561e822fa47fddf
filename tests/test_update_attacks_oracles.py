"""The update attacks send what their papers say, and what ByzFL sends where it means the same."""

from __future__ import annotations

import byzfl
import numpy as np
import oracles
import pytest
import torch

from clients.alie import Alie, z_of
from clients.attack import CraftContext
from clients.ipm import Ipm
from clients.kernels import normals
from clients.simple_updates import GaussianUpdate, ScaledUpdate, SignFlip

GENERATOR = np.random.default_rng(5)
OWN = GENERATOR.normal(size=(3, 6))
HONEST = 1 + GENERATOR.normal(size=(7, 6))


def sent(attack, *, omniscient=True, clients=10, malicious=3):
    context = CraftContext(
        generator=torch.Generator().manual_seed(1),
        model=torch.zeros(6, dtype=torch.float64),
        clients=clients,
        malicious=malicious,
    )
    seen = torch.from_numpy(HONEST) if omniscient else None
    return attack.craft(torch.from_numpy(OWN), seen, context).numpy()


@pytest.mark.parametrize("factor", [-10.0, 1.0, 2.5])
def test_scaled_update(factor):
    np.testing.assert_allclose(sent(ScaledUpdate(factor=factor)), oracles.scaled_update(OWN, factor))


def test_sign_flip():
    np.testing.assert_array_equal(sent(SignFlip()), oracles.sign_flip(OWN))


@pytest.mark.parametrize("mode", ["replace", "add"])
@pytest.mark.parametrize("std", [0.0, 1.0, 3.0])
def test_gaussian_update(std, mode):
    noise = normals(torch.zeros(3, 6, dtype=torch.float64), torch.Generator().manual_seed(1)).numpy()
    wanted = oracles.gaussian_update(OWN, noise, std, mode)
    np.testing.assert_allclose(sent(GaussianUpdate(std=std, mode=mode)), wanted)


def test_gaussian_noise_has_the_spread_that_is_asked_for():
    context = CraftContext(generator=torch.Generator().manual_seed(1), model=torch.zeros(20_000))
    noise = GaussianUpdate(std=2.0).craft(torch.ones(1, 20_000), None, context)
    assert abs(float(noise.mean())) < 0.05
    assert abs(float(noise.std()) - 2) < 0.05


@pytest.mark.parametrize(("n", "f"), [(50, 10), (51, 12), (25, 5), (20, 4), (10, 3), (50, 24), (100, 20)])
def test_the_largest_z_of_alie(n, f):
    assert z_of(None, n, f) == pytest.approx(max(0.0, oracles.alie_z(n, f)), abs=1e-9)


@pytest.mark.parametrize("omniscient", [False, True])
@pytest.mark.parametrize(("direction", "correction"), [(-1, 0), (1, 0), (-1, 1), (1, 1)])
def test_alie(omniscient, direction, correction):
    visible = HONEST if omniscient else OWN
    knobs = {"direction": direction, "correction": correction}
    np.testing.assert_allclose(
        sent(Alie(z=1.5, **knobs), omniscient=omniscient), oracles.alie(visible, 3, 1.5, **knobs)
    )
    usual = sent(Alie(**knobs), omniscient=omniscient, clients=50, malicious=12)
    np.testing.assert_allclose(usual, oracles.alie(visible, 3, oracles.alie_z(50, 12), **knobs))


@pytest.mark.parametrize("omniscient", [False, True])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 10.0])
def test_ipm(omniscient, epsilon):
    visible = HONEST if omniscient else OWN
    np.testing.assert_allclose(
        sent(Ipm(epsilon=epsilon), omniscient=omniscient), oracles.ipm(visible, 3, epsilon)
    )


def test_byzfl_agrees():
    np.testing.assert_allclose(sent(Ipm(epsilon=2.0))[0], byzfl.InnerProductManipulation(tau=2.0)(HONEST))
    # ByzFL adds the deviation, with Bessel's correction; the authors of ALIE subtract it, without.
    ours = sent(Alie(z=1.5, direction=1, correction=1))[0]
    np.testing.assert_allclose(ours, byzfl.ALittleIsEnough(tau=1.5)(HONEST))
    # ByzFL's sign flip sends minus the mean of the honest: ours is minus the own, so ipm it is.
    np.testing.assert_allclose(sent(Ipm(epsilon=1.0))[0], byzfl.SignFlipping()(HONEST))
