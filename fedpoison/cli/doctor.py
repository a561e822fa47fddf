"""`fedpoison doctor`: check the installation, the data sets and the hardware."""

from __future__ import annotations

import importlib
import platform
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import requires
from pathlib import Path

import typer
from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table

from fedpoison.cli.catalogue import broken_entry_points
from fedpoison.cli.options import Data, Json
from fedpoison.errors import DataError
from fedpoison.processors import processor_count
from fedpoison.registry import GROUPS, added, misnamed_groups
from fedpoison.results.provenance import versions
from fedpoison.results.strict_json import to_json


@dataclass(frozen=True)
class CheckResult:
    """Result of one check."""

    subject: str
    found: str
    remedy: str = ""
    """Advice to the user. Empty if the check passed."""


def doctor_command(*, data_dir: Data = None, as_object: Json = False) -> None:
    """Check installation, data sets and hardware. If a check fails, the exit code is 1."""
    pair = check_pair(versions()["torch"], requires("torchvision") or [])
    findings = [*_packages(), *_imports(), pair, *_plugins(), _hardware(), *_data(data_dir), _disk()]
    if as_object:
        typer.echo(to_json({"checks": [asdict(finding) for finding in findings]}))
    else:
        Console(emoji=False).print(_table(findings))
    if any(finding.remedy for finding in findings):
        raise typer.Exit(1)


def _table(findings: Iterable[CheckResult]) -> Table:
    table = Table(show_header=False, box=None)
    for finding in findings:
        mark = "[red]✗[/]" if finding.remedy else "[green]✓[/]"
        table.add_row(mark, finding.subject, finding.found)
        if finding.remedy:
            table.add_row("", "", f"[yellow]{finding.remedy}[/]")
    return table


def _packages() -> list[CheckResult]:
    remedies = {"not installed": "install fedpoison again: pip install . in a clone of its repository"}
    found = {"python": platform.python_version(), **versions()}
    return [CheckResult(name, version, remedies.get(version, "")) for name, version in found.items()]


def _imports() -> list[CheckResult]:
    findings = []
    for module, remedy in (
        ("torchvision", "torchvision was built for another torch: see the line on torch and torchvision"),
        ("flwr.serverapp", "reinstall Flower: pip install --force-reinstall 'flwr[simulation]'"),
        ("ray", "Ray has no wheel for this Python or system; the local engine works without it"),
    ):
        try:
            importlib.import_module(module)
        except (ImportError, RuntimeError, OSError) as error:  # RuntimeError: torchvision for another torch
            findings.append(CheckResult(f"import {module}", str(error).splitlines()[0], remedy))
        else:
            findings.append(CheckResult(f"import {module}", "works"))
    return findings


def check_pair(torch_version: str, needs: list[str]) -> CheckResult:
    """Check a torch version against the requirements of torchvision."""
    required = next((need for text in needs if (need := Requirement(text)).name == "torch"), None)
    subject = "torch and torchvision"
    if required is None or required.specifier.contains(torch_version, prereleases=True):
        if "+cpu" in torch_version:
            return CheckResult(
                subject,
                f"torch {torch_version} is a CPU-only build",
                "torchvision from the package index expects the index's own torch: reinstall both "
                "with pip install --force-reinstall torch torchvision, or take both from one CPU-only index",
            )
        return CheckResult(subject, "compatible")
    return CheckResult(
        subject,
        f"torchvision needs {required}, got torch {torch_version}",
        "install the two together: pip install --force-reinstall torch torchvision",
    )


def _plugins() -> list[CheckResult]:
    """Count the names that other packages add, and report those that cannot be used, and unknown groups."""
    remedy = "correct the name of the group in the pyproject.toml of the package, and install it again"
    unknown_groups = [CheckResult("plug-in", message, remedy) for message in misnamed_groups()]
    counts = {kind: len(added(group)) for kind, group in GROUPS.items()}
    found = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "none"
    messages = [message for kind in GROUPS for message in broken_entry_points(kind)]
    broken = [CheckResult("plug-in", *_split_remedy(message)) for message in messages]
    return [CheckResult("plug-ins", found), *unknown_groups, *broken]


def _split_remedy(message: str) -> tuple[str, str]:
    """Split a message into the problem and the remedy, which is its last sentence."""
    problem, _, remedy = message.rpartition(". ")
    return problem, remedy


def _hardware() -> CheckResult:
    import torch  # noqa: PLC0415  # doctor must start even if torch does not

    used = "no GPU; training uses the CPU"
    if torch.cuda.is_available():
        used = f"{torch.cuda.get_device_name()}, used by `fedpoison run`; commands with many runs use the CPU"
    capability = torch.backends.cpu.get_cpu_capability()
    return CheckResult("hardware", f"{processor_count()} CPUs ({capability}), {used}")


def _data(data_dir: Path | None) -> list[CheckResult]:
    from fedpoison.data.datasets import find_files, load_dataset  # noqa: PLC0415  # loads torch
    from fedpoison.data.sources import DATASETS, REMEDY, TorchvisionSource  # noqa: PLC0415

    def check(name: str) -> CheckResult:
        root, source, subject = find_files(name, data_dir), DATASETS[name], f"data set {name}"
        try:
            dataset = load_dataset(name, data_dir=data_dir, download=False)
        except DataError as error:
            if root is None:
                return CheckResult(subject, f"downloaded at the first use, since it is not on disk ({error})")
            return CheckResult(subject, *_split_remedy(str(error).replace("; ", ". ")))
        found = f"{len(dataset.train)} training and {len(dataset.test)} test images"
        changed = source.changed(root) if root is not None and isinstance(source, TorchvisionSource) else []
        if not changed:
            return CheckResult(subject, found)
        return CheckResult(
            subject,
            f"{found}; {changed[0]} differs from the published file",
            f"if you did not change it, {REMEDY}",
        )

    return [check("digits"), check("mnist")]


def _disk() -> CheckResult:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    remedy = "free some disk space: each run saves its records and its model" if free < 1 else ""
    return CheckResult("disk", f"{free:.0f} GiB free here", remedy)
