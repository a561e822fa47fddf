"""Where a fleet runs, and on how much of the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from fedpoison.devices import Device
from fedpoison.errors import EngineError, ScenarioError, unknown

Engine = Literal["local", "ray", "flower"]


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Says where a fleet runs. Nothing here changes what comes out, but for the rounding of a device.

    Raises:
        EngineError: the engine does not train on the device.
        ScenarioError: an option is unknown, out of its range, or another engine's.
    """

    engine: Engine = "local"
    """`local` trains in this process, `ray` in Ray actors on this machine or a cluster, `flower` in Flower's
    simulation runtime. The result is the same."""
    workers: int | None = None
    """How many nodes train at once on `local` and `ray`; None is one for each processor, of this machine or
    of the cluster."""
    clients_per_task: int | None = None
    """How many nodes a worker trains in one call on `local` and `ray`; None cuts a round into four calls a
    worker. On a device it is how many train in one stack, 100 unless given."""
    device: Device = "auto"
    """Where `local` trains, aggregates and evaluates. On an accelerator the results differ from those on
    processors as rounding does; the other engines have processors only."""
    deterministic: bool = False
    """Whether a device gives the same bits again, which costs time; processors always do."""
    ray_address: str | None = None
    """The cluster that `ray` joins, `auto` or host:port, and leaves running; None starts a Ray on this
    machine and stops it in the end."""
    ray_resources: Mapping[str, float] | None = None
    """What Ray reserves for each worker, such as {"CPU": 2}; None is one processor."""

    def __post_init__(self) -> None:
        engine = self.engine
        for name, given, known in (("engine", engine, Engine), ("device", self.device, Device)):
            if given not in get_args(known):
                raise unknown(name, given, get_args(known))
        for name, count in (("workers", self.workers), ("clients_per_task", self.clients_per_task)):
            if count is not None and count < 1:
                raise ScenarioError(f"{name}: got {count}, wanted at least 1, or None.")
        if engine != "local" and self.device not in ("auto", "cpu"):
            raise EngineError(f"device: got {self.device} on engine {engine}; only local trains on a device.")
        if engine != "ray" and (self.ray_address or self.ray_resources):
            raise ScenarioError(f"ray_address and ray_resources: got engine {engine}, wanted ray.")
        if self.deterministic and engine != "local":
            raise ScenarioError(f"deterministic: got engine {engine}, wanted local; processors always are.")
        if engine == "flower" and (self.workers or self.clients_per_task):
            raise ScenarioError(
                "workers and clients_per_task: got engine flower, which has its own; wanted local or ray."
            )


DEFAULTS = EngineOptions()
PROCESSORS = EngineOptions(device="cpu")
"""The engine `local` on no accelerator."""
