"""`fedpoison report`: write one HTML page about stored runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def report_command(
    paths: Annotated[
        list[Path], typer.Argument(help="Run folders, run stores, or folders that contain these.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write. Default: report.html in PATHS, or in the current folder for several PATHS.",
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="Title of the page.")] = "fedpoison report",
    figures: Annotated[
        Path | None,
        typer.Option(help="Folder for the figures as SVG and PDF. Default: no such files."),
    ] = None,
) -> None:
    """Write one HTML file about stored runs. A browser opens the file without a network."""
    from fedpoison.report import write_report  # noqa: PLC0415  # half a second to import

    with Console(emoji=False, stderr=True).status("writing the report") as status:
        written = write_report(
            paths,
            output,
            title=title,
            figures=figures,
            on_figure=lambda files: status.update(f"drawing its figures: {files}"),
        )
    console = Console(emoji=False, soft_wrap=True)
    for reason in written.left_out.values():
        console.print(f"left out: {reason}", style="yellow", markup=False)
    if written.unfinished:
        runs = "1 run was" if written.unfinished == 1 else f"{written.unfinished} runs were"
        console.print(
            f"{runs} not finished: listed separately on the page, and excluded from all means", style="yellow"
        )
    size = written.page.stat().st_size / 1e6
    runs = "run" if written.runs == 1 else "runs"
    console.print(f"{written.runs} {runs}, {size:.1f} MB: {written.page}", markup=False)
    if figures is not None:
        console.print(f"{written.figures} figures: {figures}", markup=False)
