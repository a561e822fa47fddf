"""Ray sessions: a session that this process already uses, a cluster, or Ray on this machine."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import sysconfig
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from fedpoison.engines.guard import guarded_ray
from fedpoison.errors import EngineError


@contextmanager
def ray_session(address: str | None = None, *, cpus: int | None = None) -> Iterator[int]:
    """Run Ray while the context is open, and yield the number of its CPUs.

    If this process already uses Ray, that session is used and left open.

    Args:
        address: address of a cluster, `auto` or host:port, which is left running. Default: start Ray on this
            machine, and stop it at the end.
        cpus: number of CPUs of Ray on this machine. Default: all.

    Raises:
        EngineError: the cluster cannot be joined, or Ray does not start.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # otherwise Ray warns of a new default
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger("ray.widgets").setLevel(logging.WARNING)  # in notebooks, Ray asks for ipywidgets
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")  # so does its tqdm
        import ray  # noqa: PLC0415  # takes a second to import

    if ray.is_initialized():
        joined = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", joined):
            raise EngineError(
                f"Ray at {address}: this process uses the cluster at {joined} already; call ray.shutdown() "
                "first, or omit the address."
            )
        yield int(ray.cluster_resources().get("CPU", 1))
        return
    with guarded_ray() if address is None else nullcontext():
        _start(address, cpus)
        try:
            with _without_worker_logs():
                yield int(ray.cluster_resources().get("CPU", 1))
        finally:
            ray.shutdown()


def _start(address: str | None, cpus: int | None) -> None:
    """Join a cluster, or start Ray on this machine."""
    import ray  # noqa: PLC0415  # takes a second to import

    try:
        _check_reachable(address)
        with _own_sigterm(), _listening(everywhere=address is not None):
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
            f"Ray {where}: {str(error).splitlines()[0]} Start a cluster with `ray start --head`, or omit "
            "the address to use this machine alone."
        ) from None


def code_path() -> str:
    """Return the PYTHONPATH with which Ray's processes find the same code as this process.

    Installed packages are not on it, because each machine has its own.
    """
    installed = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    own = [str(Path(path).absolute()) for path in sys.path if not path.startswith(installed)]
    return os.pathsep.join([*dict.fromkeys(own), "${PYTHONPATH}"])  # Ray inserts the machine's own


def _check_reachable(address: str | None) -> None:
    """Raise OSError or ValueError at once. Ray would try for minutes, and then end the process."""
    if address in (None, "auto"):
        return
    host, _, port = str(address).rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise ValueError("the address is not understood: expected auto, or host:port.")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise OSError(f"cannot be reached ({error.strerror or error}).") from None


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep this process's handler of SIGTERM. Ray's handler ends the process, and prints a stack trace."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


@contextmanager
def _listening(*, everywhere: bool) -> Iterator[None]:
    """Start Ray so that its processes listen on all addresses, or on the loopback address only.

    Ray has this setting for Windows and macOS. On Linux, only the constant and its variable set it.
    """
    from ray._private import ray_constants  # noqa: PLC0415

    name = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    before, constant = os.environ.get(name), ray_constants.ENABLE_RAY_CLUSTER
    if not everywhere:
        os.environ[name], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = constant
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


@contextmanager
def _without_worker_logs() -> Iterator[None]:
    """Keep Ray from printing on stdout that its processes start and end: errors report failures.

    No option of Ray covers these messages, not even log_to_driver.
    """
    from ray._private import worker  # noqa: PLC0415

    worker._worker_logs_enabled = False  # noqa: SLF001
    try:
        yield
    finally:
        worker._worker_logs_enabled = True  # noqa: SLF001
