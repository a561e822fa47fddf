"""Options of the engines: where clients are computed, and with how many workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from fedpoison.devices import Device
from fedpoison.errors import EngineError, ScenarioError, unknown

Engine = Literal["local", "ray", "flower"]


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Options of an engine. None of them changes a result, except for the rounding on a device.

    Raises:
        EngineError: the engine does not train on the device.
        ScenarioError: an option is unknown, out of range, or an option of another engine.
    """

    engine: Engine = "local"
    """Engine: `local` trains in this process, `ray` in Ray actors on this machine or on a cluster, `flower`
    in Flower's simulation runtime."""
    workers: int | None = None
    """Number of clients that train at the same time on `local` and `ray`. Default: one per CPU of the machine
    or the cluster."""
    clients_per_task: int | None = None
    """Number of clients that a worker of `local` or `ray` trains in one call, and on a device in one stack.
    Default: four calls per worker and round; on a device: 100."""
    device: Device = "auto"
    """Device on which `local` trains, aggregates and evaluates. Results on an accelerator differ from results
    on CPUs by rounding. The other engines use CPUs only."""
    deterministic: bool = False
    """Whether a device repeats a run bit by bit, which takes more time. CPUs always do. Default: False."""
    ray_address: str | None = None
    """Address of the cluster that `ray` joins and leaves running: `auto` or host:port. Default: start Ray on
    this machine, and stop it after the run."""
    ray_resources: Mapping[str, float] | None = None
    """Resources that Ray reserves per worker, such as {"CPU": 2}. Default: one CPU."""

    def __post_init__(self) -> None:
        engine = self.engine
        for name, given, known in (("engine", engine, Engine), ("device", self.device, Device)):
            if given not in get_args(known):
                raise unknown(name, given, get_args(known))
        for name, count in (("workers", self.workers), ("clients_per_task", self.clients_per_task)):
            if count is not None and count < 1:
                raise ScenarioError(f"{name}: got {count}, expected at least 1, or None.")
        if engine != "local" and self.device not in ("auto", "cpu"):
            raise EngineError(f"device: got {self.device} on engine {engine}; only local trains on a device.")
        if engine != "ray" and (self.ray_address or self.ray_resources):
            raise ScenarioError(f"ray_address and ray_resources: got engine {engine}, expected ray.")
        if self.deterministic and engine != "local":
            raise ScenarioError(
                f"deterministic: got engine {engine}, expected local; CPUs are deterministic without it."
            )
        if engine == "flower" and (self.workers or self.clients_per_task):
            raise ScenarioError(
                "workers and clients_per_task: got engine flower, which sets its own; expected local or ray."
            )


DEFAULTS = EngineOptions()
ON_CPUS = EngineOptions(device="cpu")
"""Options of the engine `local` on CPUs."""
