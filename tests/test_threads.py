"""The number of threads that torch may take changes no bit: of workers, rules and attacks alike."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from clients.attack import crafts
from clients.knowledge import crafted
from experiments.benchmarks.attacks import Crafting
from fedpoison.registries import attacks, build_attack
from strategies.chunks import over_chunks
from strategies.one_thread import intra_op_threads, stay_single


def test_a_single_thread_stays_single_when_others_set_their_own_count():
    # A thread that only sets its count forgets it at its first parallel operation.
    ready, go = threading.Event(), threading.Event()

    def held():
        ready.set()
        go.wait()
        return torch.get_num_threads()

    with intra_op_threads(3), ThreadPoolExecutor(1, initializer=stay_single) as pool:
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


@pytest.mark.parametrize("spec", [name for name in attacks.entries() if crafts(build_attack(name))])
def test_attacks_send_the_same_bits_on_any_number_of_threads(spec):
    # 40,001 numbers are enough for torch and MKL to share out whole sums and products.
    attack, drawn, m = build_attack(spec), Crafting.drawn(25, 40_001, 1), 5
    sent = []
    for threads in (1, 2, 3):
        with intra_op_threads(threads):
            tried, tolerated, kind = drawn.rule("median" if attack.card.knows_rule else "-")
            contexts = drawn.contexts(m, tried, tolerated, kind)
            own, honest = drawn.updates[:m].clone(), drawn.updates[m:].clone()
            sent.append(crafted(attack, own, honest, contexts, nodes=tuple(range(m))))
    for other in sent[1:]:
        torch.testing.assert_close(other, sent[0], rtol=0, atol=0, equal_nan=True)
