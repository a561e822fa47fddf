"""A Ray to run on: the one that is there, a cluster that is joined, or one of our own for a while."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
        yield int(ray.cluster_resources().get("CPU", 1))
        return
    try:
        ray.init(
            address=address,
            num_cpus=cpus if address is None else None,
            include_dashboard=False if address is None else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}},
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = "on this machine" if address is None else f"at {address}"
        raise EngineError(
            f"Ray {where}: {str(error).splitlines()[0]} Start a cluster with `ray start --head`, or leave "
            "the address out to use this machine alone."
        ) from None
    try:
        yield int(ray.cluster_resources().get("CPU", 1))
    finally:
        ray.shutdown()
