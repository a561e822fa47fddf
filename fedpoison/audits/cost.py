"""Cost of a strategy: the time of its rounds, and the memory of an aggregation of random updates."""

from __future__ import annotations

import ctypes
import re
from contextlib import suppress
from pathlib import Path

import torch

from fedpoison.audits.setting import AuditSetting
from fedpoison.federation.federation import Federation
from fedpoison.results.round import Round
from fedpoison.simulation.run import run_in_process
from strategies.base import AggregationRule, InputError, PreconditionError

COORDINATES = 400_000
"""Number of parameters of the measured updates, with which the matrix is much larger than all else."""
WARM_UP = 20_000
"""Number of parameters of a first aggregation that is not measured."""
_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def seconds_per_round(setting: AuditSetting) -> dict[str, float]:
    """Measure the mean time per round and phase without an attack, in seconds.

    One run per partition at the headline share, each alone in this process, so that parallel runs of the
    audit do not slow it down.
    """
    rounds = len(setting.protocol.partitions) * setting.base.rounds
    records: list[Round] = []
    for partition in setting.protocol.partitions:
        scenario = setting.clean(partition, setting.headline_share, setting.protocol.first_seed)
        run_in_process(Federation(scenario, setting.dataset), records.append, workers=1)
    trained = [record.training.seconds for record in records if record.round > 0]
    phases = dict.fromkeys(phase for seconds in trained for phase in seconds)
    return {phase: sum(seconds.get(phase, 0.0) for seconds in trained) / rounds for phase in phases}


def relative_memory(rule: AggregationRule, clients: int) -> float | None:
    """Measure the largest memory of an aggregation beyond its input, relative to the matrix of updates.

    The system records the peak of the memory of this process while the rule aggregates random updates.

    Args:
        rule: Rule to measure. Rules that need the model or root data cannot aggregate random updates.
        clients: Number of updates.

    Returns:
        Bytes per byte of the matrix. None: the rule needs more than updates, or the system does not show the
        memory of a process.
    """
    updates = torch.randn(clients, COORDINATES, generator=torch.Generator().manual_seed(0))
    try:
        rule(updates[:, :WARM_UP])  # loads the code
        _return_free_memory()
        _RESET.write_text("5", encoding="ascii")  # the peak starts again from the present memory
        before = _peak()
        rule(updates)
        return (_peak() - before) / updates.nbytes
    except (OSError, InputError, PreconditionError):
        return None


def _return_free_memory() -> None:
    """Return free memory of this process to the system, so that using it again counts."""
    with suppress(AttributeError, OSError):  # systems without glibc
        ctypes.CDLL(None).malloc_trim(0)


def _peak() -> int:
    """Return the peak of the resident memory of this process, in bytes.

    Raises:
        OSError: the system does not show it.
    """
    found = re.search(r"^VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"), re.MULTILINE)
    if found is None:
        raise OSError(f"{_STATUS}: no VmHWM")
    return 1024 * int(found[1])
