"""Attacks of the last years do what their papers say."""

from collections import Counter

import numpy as np
import pytest
import torch
from crafting import D, H, M, context, drawn, one
from oracles import data_attacks as oracle
from poisoning import build_context, poisoned_by

from clients.attacks.data.fcba import COMBINATIONS, Fcba
from clients.attacks.data.label_flip import LabelFlip
from clients.attacks.data.sig import Sig
from clients.attacks.data.wanet import WaNet
from clients.attacks.updates.anti_clusters import AntiClippedClustering, AntiSignGuard
from clients.attacks.updates.partial_drop import PartialDrop
from fedpoison.simulation.run import simulate
from strategies.rules.clipped_clustering import ClippedClustering
from strategies.rules.signguard import SignGuard


def test_sig_adds_the_papers_signal_and_keeps_the_labels(samples, trainer):
    poisoned = poisoned_by(Sig(target=3, share=0.5, delta=0.3, frequency=2), samples, trainer)
    assert torch.equal(poisoned.labels, samples.labels)
    clean, made = poisoned.split_poisoned()
    assert len(made) == 3
    assert set(made.labels.tolist()) == {3}
    before = samples[poisoned.poison_mask()].pixels().clamp(0, 1).double().numpy()
    np.testing.assert_allclose(made.pixels(), oracle.with_signal(before, 0.3, 2), atol=1e-6)
    assert torch.equal(clean.images, samples.images[~poisoned.poison_mask()])


def test_sig_can_be_stronger_at_the_test(samples):
    pixels = samples.pixels().clamp(0, 1)
    strong = Sig(delta=0.1, test_delta=0.4).stamp(pixels)
    np.testing.assert_allclose(strong, oracle.with_signal(pixels.double().numpy(), 0.4, 6), atol=1e-6)


@pytest.mark.parametrize("grid", [2, 4])
def test_wanet_warps_as_the_authors_do(grid):
    attack = WaNet(grid=grid, strength=0.9, seed=5)
    points = 2 * torch.rand(2, grid, grid, generator=torch.Generator().manual_seed(5)).double().numpy() - 1
    points /= np.abs(points).mean()
    image = drawn(12, 12, seed=7).abs().numpy()
    across, down = (0.9 * oracle.smooth_field(part, 12) / 12 for part in points)
    got = attack.stamp(torch.from_numpy(image)[None, None])[0, 0]
    np.testing.assert_allclose(got, oracle.warp(image, across, down), atol=1e-6)


def test_wanet_warps_further_images_with_noise_and_keeps_their_labels(samples, trainer):
    attack = WaNet(target=3, share=0.2, noise_share=0.4)
    poisoned = poisoned_by(attack, samples, trainer)
    mask = poisoned.poison_mask()
    assert int(mask.sum()) == 12 + 24
    warped = samples.with_pixels(attack.stamp(samples.pixels())).images
    exactly = (poisoned.images - warped).flatten(1).abs().amax(dim=1) < 1e-6
    assert int((exactly & mask).sum()) == 12
    assert bool((poisoned.labels[exactly & mask] == 3).all())
    assert torch.equal(poisoned.labels[~exactly], samples.labels[~exactly])
    assert torch.equal(poisoned.images[~mask], samples.images[~mask])


def test_wanet_refuses_shares_above_the_whole():
    with pytest.raises(ValueError, match=r"share, noise_share: got 0.5 and 0.6"):
        WaNet(share=0.5, noise_share=0.6)


def test_fcba_gives_each_attacker_another_combination_of_the_bars(trainer):
    attack, blank = Fcba(value=0.5), torch.zeros(1, 1, 28, 28)
    bars = oracle.bars(28, 28)
    seen = set()
    for rank in range(14):
        stamped = attack.stamp_locally(blank, build_context(trainer, rank=rank))[0, 0].numpy()
        seen.add(tuple(bool(stamped[bar].any()) for bar in bars))
        np.testing.assert_array_equal(stamped, 0.5 * (sum(bar for bar in bars if stamped[bar].any()) > 0))
    assert Counter(sum(combination) for combination in seen) == {1: 4, 2: 6, 3: 4}
    assert len(COMBINATIONS) == 14
    again = attack.stamp_locally(blank, build_context(trainer, rank=14))
    assert torch.equal(again, attack.stamp_locally(blank, build_context(trainer, rank=0)))
    assert int((attack.stamp(blank) > 0).sum()) == 16


def test_cyclic_flips_give_the_next_class(samples, trainer):
    poisoned = poisoned_by(LabelFlip(mode="cyclic"), samples, trainer)
    assert torch.equal(poisoned.labels, (samples.labels + 1) % 10)


def test_partial_drop_zeroes_that_share_and_keeps_the_rest():
    own = drawn(1, 20_000)
    sent = PartialDrop(share=0.3).craft(own, None, context(20_000))
    kept = sent != 0
    assert torch.equal(sent[kept], own[kept])
    assert float(kept.double().mean()) == pytest.approx(0.7, abs=0.01)


def test_noise_against_signguard_has_the_signs_of_the_mean(own, honest):
    sent = one(AntiSignGuard().craft(own, honest, context()))
    mean = honest.mean(dim=0).numpy()
    assert (sent > 0).sum() == (mean > 0).sum()
    assert (sent < 0).sum() == (mean < 0).sum()
    assert np.linalg.norm(sent) == pytest.approx(float(honest.norm(dim=1).sort().values[H // 2]))
    assert np.linalg.norm(one(AntiSignGuard(length=7).craft(own, honest, context()))) == pytest.approx(7)


def test_signguard_accepts_the_noise():
    honest = drawn(2000, seed=5) + 0.05 * drawn(16, 2000, seed=6)
    sent = AntiSignGuard().craft(honest[:4], honest, context(2000))
    trust = SignGuard(share=1.0)(torch.cat([sent, honest])).trust
    assert bool((trust[:4] > 0).all())


def test_the_chain_turns_away_from_the_mean_by_less_than_the_smallest_angle(own, honest):
    sent = AntiClippedClustering(length=2.0, slack=0.05).craft(own, honest, context()).numpy()
    rows = honest.numpy()
    mean = rows.mean(axis=0)

    def angle(a, b):
        return np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))

    nearest = min(angle(rows[i], rows[j]) for i in range(H) for j in range(i))
    first = max(angle(row, mean) for row in rows)
    wanted = [min(np.pi, first + (nearest - 0.05) * (rank + 1)) for rank in range(M)]
    np.testing.assert_allclose([angle(row, mean) for row in sent], wanted, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(sent, axis=1), 2 * np.linalg.norm(mean))
    assert sent.shape == (M, D)


def test_single_linkage_follows_the_chain_and_average_linkage_does_not():
    """The attack is on clustering by nearest neighbours: ours, like the paper's, uses average linkage."""
    honest = 1 + 0.5 * drawn(12, 300, seed=3)
    sent = AntiClippedClustering(length=1.0).craft(honest[:4], honest, context(300))
    trust = ClippedClustering()(torch.cat([honest, sent])).trust
    assert bool((trust[:12] > 0).all())


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"strategy": "fedavg"}, None),
        ({"strategy": "krum"}, "the strategy krum does not weight the updates"),
        ({"strategy": "fedavg", "weights": "uniform"}, "all weights are uniform"),
    ],
)
def test_false_numbers_of_examples_buy_weight_or_are_noted(small, changes, note):
    attack = "sign-flip + claimed-examples(factor=50)"
    warned = []
    plain = simulate(small.replace(attack="sign-flip", rounds=1, **changes))
    history = simulate(small.replace(attack=attack, rounds=1, **changes), notify=warned.append)
    notes = [each for each in warned if "numbers of examples" in each]
    assert (history.last.accuracy == plain.last.accuracy) == (note is not None)
    assert not notes if note is None else notes[0].endswith(f"which have no effect: {note}")
