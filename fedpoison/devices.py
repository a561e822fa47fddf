"""Torch devices: select one, name it, and compute reproducibly on it."""

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
    """Return the device of that name; `auto` is CUDA if it is available, and otherwise the CPU.

    `auto` never selects Apple's `mps`, since small models are seldom faster there.

    Raises:
        EngineError: the device is not available.
    """
    if name == "auto":
        return torch.device("cuda") if torch.cuda.is_available() else CPU
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available[name]:
        found = ", ".join(known for known, is_available in available.items() if is_available)
        raise EngineError(
            f"device: got {name}, expected a device that torch {torch.__version__} finds: {found}."
        )
    return torch.device(name)


def aggregation_device(device: torch.device) -> torch.device:
    """Return the device on which updates are stored and aggregated after training on `device`.

    Some rules compute in float64, which Apple's devices do not support.
    """
    return CPU if device.type == "mps" else device


def device_name(device: torch.device) -> str:
    """Return the name of the device in `environment.json`."""
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type


@contextmanager
def deterministic_mode(device: torch.device, *, deterministic: bool) -> Iterator[None]:
    """Disable TF32 within the context; with `deterministic`, also give the same bits on every call.

    By default, CUDA's convolutions round to 10 bits and sum in any order. A CPU needs no setting: each
    worker has one thread, so the order of sums is fixed.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    torch.use_deterministic_algorithms(before or deterministic, warn_only=warn_only and not deterministic)
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=deterministic, allow_tf32=False
        ):
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
