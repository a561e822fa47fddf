"""`fedpoison report`: stored runs as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def report(
    paths: Annotated[list[Path], typer.Argument(help="Run folders, run stores, or folders that hold these.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The file to write; report.html in the folder if one is given, else in the current one.",
            show_default=False,
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="What stands over the page.")] = "fedpoison report",
    figures: Annotated[
        Path | None,
        typer.Option(help="A folder to write the figures to as SVG and PDF.", show_default=False),
    ] = None,
) -> None:
    """Write one HTML file about stored runs, to open in a browser without a network."""
    from fedpoison.report import write_report  # noqa: PLC0415  # half a second to import

    with Console(stderr=True).status("writing the report") as status:
        written = write_report(
            paths,
            output,
            title=title,
            figures=figures,
            on_figure=lambda files: status.update(f"drawing its figures: {files}"),
        )
    console = Console(soft_wrap=True)
    for reason in written.left_out.values():
        console.print(f"left out: {reason}", style="yellow", markup=False)
    if written.unfinished:
        told = "1 run was" if written.unfinished == 1 else f"{written.unfinished} runs were"
        console.print(f"{told} not finished: in no mean, listed apart on the page", style="yellow")
    size = written.page.stat().st_size / 1e6
    runs = "run" if written.runs == 1 else "runs"
    console.print(f"{written.runs} {runs}, {size:.1f} MB: {written.page}", markup=False)
    if figures is not None:
        console.print(f"{written.figures} figures: {figures}", markup=False)
