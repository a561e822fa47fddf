"""Command line: a module per command, which parses options, calls the library and prints the result."""

from __future__ import annotations

import os
import signal
import sys

__all__ = ["main"]

# Flower and Ray read these when they are imported: no telemetry, no update checks, no needless warnings.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended, by convention of the shell."""


def main() -> None:
    """Run the command line. If fedpoison raises an error, print it as one line and exit with 2."""
    import click  # noqa: PLC0415  # after the environment is set
    from rich.console import Console  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415

    from fedpoison.errors import FedPoisonError  # noqa: PLC0415

    console = Console(emoji=False, stderr=True, soft_wrap=True, highlight=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop as with Ctrl-C, and keep finished work
    try:
        from fedpoison.cli.app import app  # noqa: PLC0415

        code = app(prog_name="fedpoison", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except FedPoisonError as error:
        console.print(f"[bold red]error[/]: {escape(str(error))}")
        sys.exit(2)
    if code == INTERRUPTED:
        console.print("[yellow]stopped[/]: finished work is kept")
    sys.exit(code)
