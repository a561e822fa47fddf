"""The number of processors is that of this process, not that of the machine."""

import os
import sys

import pytest
import torch

from clients.training.local_training import LocalTraining
from fedpoison.federation.workers import Workers
from fedpoison.processors import processor_count


@pytest.mark.skipif(sys.platform != "linux", reason="sets the processors of a process as Linux does")
def test_a_limit_on_the_process_counts(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert processor_count() == 1


def test_a_system_without_limits_uses_all(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert processor_count() == 64


def test_workers_are_one_per_processor(monkeypatch):
    monkeypatch.setattr("fedpoison.federation.workers.processor_count", lambda: 3)
    with Workers(lambda: torch.nn.Linear(2, 2), LocalTraining()) as workers:
        assert workers.count == 3
