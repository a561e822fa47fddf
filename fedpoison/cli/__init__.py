"""The command line."""

from __future__ import annotations

import os
import sys

# Flower and Ray read these when they are imported: no telemetry, no update checks, no needless warnings.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

INTERRUPTED = 130
"""The shell's convention for a command that was ended by Ctrl-C."""


def main() -> None:
    """Run the command line; errors that are raised on purpose become one line and exit code 2."""
    from rich.console import Console  # noqa: PLC0415  # after the environment is set

    from fedpoison.cli.app import app  # noqa: PLC0415
    from fedpoison.errors import FedPoisonError  # noqa: PLC0415

    try:
        app()
    except FedPoisonError as error:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error[/]: {_escaped(error)}", highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        Console(stderr=True).print("[yellow]stopped[/]: what was done is kept")
        sys.exit(INTERRUPTED)


def _escaped(error: Exception) -> str:
    from rich.markup import escape  # noqa: PLC0415

    return escape(str(error))
