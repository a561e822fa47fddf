"""A Ray to run on: the one that is there, a cluster that is joined, or one of our own for a while."""

from __future__ import annotations

import logging
import os
import socket
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedpoison.errors import EngineError


@contextmanager
def ray_session(address: str | None = None, *, cpus: int | None = None) -> Iterator[int]:
    """Have Ray running while the context lasts, and yield how many processors it offers.

    A Ray that this process has already started is used and left as it is.

    Args:
        address: a cluster to join, `auto` or host:port; it is left running. None starts a Ray of our own
            on this machine and stops it in the end.
        cpus: how many processors a Ray of our own offers; None offers them all.

    Raises:
        EngineError: the cluster cannot be joined, or Ray does not start.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns of a future default
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray  # noqa: PLC0415  # a second to import

    if ray.is_initialized():
        _check_same(address, ray.get_runtime_context().gcs_address)
        yield int(ray.cluster_resources().get("CPU", 1))
        return
    try:
        _check_reachable(address)
        ray.init(
            address=address or "local",
            num_cpus=cpus if address is None else None,
            include_dashboard=False if address is None else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": {"PYTHONPATH": code_path()}},
        )
    except (OSError, RuntimeError, ValueError) as error:
        where = "on this machine" if address is None else f"at {address}"
        raise EngineError(
            f"Ray {where}: {str(error).splitlines()[0]} Start a cluster with `ray start --head`, or leave "
            "the address out to use this machine alone."
        ) from None
    try:
        with _quiet():
            yield int(ray.cluster_resources().get("CPU", 1))
    finally:
        ray.shutdown()


def code_path() -> str:
    """Return the PYTHONPATH under which Ray's processes find the code that this process has found.

    What is installed is left out: every machine has its own.
    """
    installed = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    own = [str(Path(path).absolute()) for path in sys.path if not path.startswith(installed)]
    return os.pathsep.join([*dict.fromkeys(own), "${PYTHONPATH}"])  # Ray puts in what the machine has


def _check_same(address: str | None, joined: str) -> None:
    """Raise EngineError if `address` is another cluster's than the one that this process has joined."""
    if address not in (None, "auto", joined):
        raise EngineError(
            f"Ray at {address}: this process uses the cluster at {joined} already; call ray.shutdown() "
            "first, or leave the address out."
        )


def _check_reachable(address: str | None) -> None:
    """Raise OSError or ValueError at once where Ray would try for minutes, and then end the process."""
    if address in (None, "auto"):
        return
    host, _, port = str(address).rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise ValueError("the address is not understood: wanted auto, or host:port.")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise OSError(f"cannot be reached ({error.strerror or error}).") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray from printing on stdout what happens to its processes; whoever uses them is told by errors.

    No option of Ray's covers these messages, log_to_driver included.
    """
    from ray._private import worker  # noqa: PLC0415

    worker._worker_logs_enabled = False  # noqa: SLF001
    try:
        yield
    finally:
        worker._worker_logs_enabled = True  # noqa: SLF001
