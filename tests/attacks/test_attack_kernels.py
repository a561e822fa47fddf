"""What update attacks are built from: moments, products, noise, and threads that change no bit."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from crafting import drawn
from scipy import stats

from clients.attacks.base import crafts_updates
from clients.attacks.composite import craft_updates
from clients.attacks.updates.rule_search import coarse_then_fine, expand_then_contract
from clients.kernels import (
    BLOCK,
    column_mean,
    column_std,
    inner_products,
    normals,
    products_with,
    squared_norms,
    uniforms,
)
from experiments.benchmarks.attacks import Crafting
from fedpoison.results.store import StoredRun
from fedpoison.scenario.registries import attacks, build_attack
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.run import simulate
from strategies.kernels.columns import intra_op_threads, over_chunks, use_one_thread
from strategies.kernels.distances import distances_from_gram


def test_moments_and_products_are_exact_over_chunks():
    rows = drawn(5, 10_000, dtype=torch.float32) + 3
    mean = column_mean(rows)
    torch.testing.assert_close(mean, rows.mean(dim=0))
    for correction in (0, 1):
        torch.testing.assert_close(
            column_std(rows, mean, correction=correction), rows.std(0, correction=correction)
        )
    centred = rows.double() - mean.double()
    products = inner_products(rows[:2], rows[2:], origin=mean)
    torch.testing.assert_close(products, centred @ centred.T, rtol=1e-5, atol=1e-2)
    torch.testing.assert_close(squared_norms(rows, origin=mean), products.diagonal(), rtol=1e-5, atol=0)
    torch.testing.assert_close(
        distances_from_gram(products), torch.cdist(centred, centred).square(), rtol=1e-5, atol=0
    )
    vector = drawn(10_000, seed=1, dtype=torch.float32)
    torch.testing.assert_close(
        products_with(rows, vector, origin=mean), centred @ vector.double(), rtol=1e-4, atol=1e-2
    )
    torch.testing.assert_close(
        products_with(rows, vector), rows.double() @ vector.double(), rtol=1e-4, atol=1e-2
    )


def test_the_searches_keep_what_is_best_so_far():
    def plateau(factor):
        return min(factor, 5.0)

    assert plateau(expand_then_contract(plateau, step=10, evaluations=20)) == 5
    assert plateau(coarse_then_fine(plateau, largest=10, evaluations=20)) == 5
    assert coarse_then_fine(lambda factor: 0.0, largest=8, evaluations=8) == 1  # nothing pays: the smallest


DRAWS = [(normals, "norm"), (uniforms, "uniform")]


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("draw", "law"), DRAWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_follows_its_law(draw, law, dtype):
    drawn = draw(torch.empty(3, 10_000, dtype=dtype), stream())
    assert drawn.dtype == dtype
    for row in drawn:
        assert stats.kstest(row.double().numpy(), law).pvalue > 0.01


@pytest.mark.parametrize(("draw", "_law"), DRAWS)
def test_the_number_of_threads_does_not_show(draw, _law):
    like = torch.empty(2, BLOCK + 3)
    threads = torch.get_num_threads()
    try:
        several = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            several.append(draw(like, stream()))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(several[0], several[1])
    assert torch.equal(several[0], several[2])


@pytest.mark.parametrize(("draw", "_law"), DRAWS)
def test_blocks_and_calls_draw_numbers_of_their_own(draw, _law):
    generator = stream()
    first, second = draw(torch.empty(2 * BLOCK), generator), draw(torch.empty(2 * BLOCK), generator)
    blocks = torch.stack([*first.split(BLOCK), *second.split(BLOCK)])
    assert torch.corrcoef(blocks).triu(1).abs().max() < 0.01
    assert torch.equal(first, draw(torch.empty(2 * BLOCK), stream()))
    assert not torch.equal(first, draw(torch.empty(2 * BLOCK), stream(1)))


def test_a_single_thread_stays_single_when_others_set_their_own_count():
    # A thread that only sets its count forgets it at its first parallel operation.
    ready, go = threading.Event(), threading.Event()

    def held():
        ready.set()
        go.wait()
        return torch.get_num_threads()

    with intra_op_threads(3), ThreadPoolExecutor(1, initializer=use_one_thread) as pool:
        found = pool.submit(held)
        ready.wait()
        torch.set_num_threads(2)
        go.set()
        assert found.result() == 1


def test_work_in_threads_is_done_by_single_ones():
    with intra_op_threads(3):
        assert set(over_chunks(lambda _: torch.get_num_threads(), torch.zeros(2, 600), values=200)) == {1}
        assert torch.get_num_threads() == 3


def test_chunks_take_no_more_threads_than_torch_has():
    names = set()
    with intra_op_threads(1):
        over_chunks(lambda _: names.add(threading.get_ident()), torch.zeros(2, 6000), values=200)
    assert names == {threading.get_ident()}


CRAFTING = [name for name in attacks.entries() if crafts_updates(build_attack(name))]
TRAINING = [name for name in CRAFTING if build_attack(name).card.trains]


@pytest.mark.parametrize("spec", TRAINING)
def test_attacks_that_train_models_send_the_same_bits_on_any_number_of_threads(spec, tmp_path):
    scenario = Scenario(
        dataset="digits", train_samples=200, test_samples=50, clients=6, malicious=0.34, rounds=2, attack=spec
    )
    weights = []
    for threads in (1, 3):
        with intra_op_threads(threads):
            history = simulate(scenario, workers=1, out=tmp_path / str(threads))
        weights.append(StoredRun(history.path).weights())
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name]), name


@pytest.mark.parametrize("spec", [name for name in CRAFTING if name not in TRAINING])
def test_attacks_send_the_same_bits_on_any_number_of_threads(spec):
    # 40,001 numbers are enough for torch and MKL to share out whole sums and products.
    attack, drawn, m = build_attack(spec), Crafting.drawn(25, 40_001, 1), 5
    sent = []
    for threads in (1, 2, 3):
        with intra_op_threads(threads):
            tried, tolerated, kind = drawn.rule("median" if attack.card.knows_rule else "-")
            contexts = drawn.contexts(m, tried, tolerated, kind)
            own, honest = drawn.updates[:m].clone(), drawn.updates[m:].clone()
            sent.append(craft_updates(attack, own, honest, contexts, client_ids=tuple(range(m))))
    for other in sent[1:]:
        torch.testing.assert_close(other, sent[0], rtol=0, atol=0, equal_nan=True)
