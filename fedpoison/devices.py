"""Where models are trained: the processors, or an accelerator."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from fedpoison.errors import EngineError

Device = Literal["auto", "cpu", "cuda", "mps"]

CPU = torch.device("cpu")


def resolve_device(name: Device) -> torch.device:
    """Return the device of that name; `auto` is CUDA where there is a device of it, and else the processors.

    Apple's `mps` has to be asked for: small models are seldom quicker there.

    Raises:
        EngineError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda") if torch.cuda.is_available() else CPU
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[name]:
        found = ", ".join(known for known, available in there.items() if available)
        raise EngineError(f"device: got {name}, but torch {torch.__version__} finds only {found} here.")
    return torch.device(name)


def aggregation_device(device: torch.device) -> torch.device:
    """Return where updates lie that were trained on `device`, and where they are aggregated.

    Rules compute in float64 where it matters, which Apple's devices do not have.
    """
    return CPU if device.type == "mps" else device


def device_name(device: torch.device) -> str:
    """Return the device as `environment.json` names it."""
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type


@contextmanager
def deterministic_mode(device: torch.device, *, deterministic: bool) -> Iterator[None]:
    """Compute float32 as float32, and with `deterministic` the same bits every time, while the context lasts.

    CUDA's convolutions round to 10 bits unless they are told not to, and add up in any order. Processors
    always compute in one order, with one thread for each worker.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    lenient = torch.is_deterministic_algorithms_warn_only_enabled()
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    torch.use_deterministic_algorithms(before or deterministic, warn_only=lenient and not deterministic)
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=deterministic, allow_tf32=False
        ):
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=lenient)
