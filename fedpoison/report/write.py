"""Write the report: the page, and its figures for print."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fedpoison.errors import RunError
from fedpoison.report import summary
from fedpoison.report.load import StoredRuns, load_runs
from fedpoison.report.page_data import PageData
from fedpoison.report.pages import BASE, TABLE_SCRIPTS, render

SCRIPTS = (
    *TABLE_SCRIPTS, "data.js", "build.js", "overview.js", "curves.js", "run.js", "trust.js", "damage.js",
    "timings.js", "provenance.js", "start.js",
)  # fmt: skip
"""The page's own scripts, in the order in which they run."""


@dataclass(frozen=True)
class ReportSummary:
    """Result of a report."""

    page: Path
    runs: int
    """Finished runs."""
    unfinished: int
    """Unfinished runs, which the page lists separately."""
    left_out: Mapping[str, str]
    """Reasons by folder: no federated run is in the folder, or its files cannot be read."""
    figures: int
    """Number of files with figures."""


def write_report(
    paths: str | Path | Iterable[str | Path],
    output: str | Path | None = None,
    *,
    title: str = "fedpoison report",
    figures: str | Path | None = None,
    on_figure: Callable[[int], None] = lambda _: None,
) -> ReportSummary:
    """Write one self-contained HTML file about stored runs, and return a summary of its contents.

    Args:
        paths: Run folders, run stores, or folders that contain these.
        output: HTML file. Default: `report.html` in the folder of a single path, else in the current folder.
        title: Title of the page.
        figures: Folder for the figures as SVG and PDF. Default: no figures.
        on_figure: Called after each figure with the number of files so far.

    Raises:
        RunError: No run can be read, or a file cannot be written.
    """
    several = [paths] if isinstance(paths, str | Path) else paths
    folders = [Path(path) for path in several]
    output = Path(output or (folders[0] if len(folders) == 1 else Path()) / "report.html")
    found = load_runs(folders)
    contents = PageData.from_runs(found.runs)
    drawn = 0
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(page(contents, found, title), encoding="utf-8")
        if figures is not None:
            from fedpoison.report.figures import write_figures  # noqa: PLC0415  # matplotlib takes a second to import

            drawn = write_figures(contents, Path(figures), on_figure)
    except OSError as error:
        raise RunError(f"{error.filename or output}: cannot be written ({error.strerror}).") from None
    unfinished = len(contents.unfinished)
    return ReportSummary(output, len(found.runs) - unfinished, unfinished, found.left_out, drawn)


def page(contents: PageData, found: StoredRuns, title: str) -> str:
    """Return the page as text."""
    from plotly.offline import get_plotlyjs  # noqa: PLC0415  # plotly takes a second to import

    table = summary.summarize(contents)
    return render(
        "page.html.j2",
        title=title,
        contents=contents,
        left_out=found.left_out,
        headlines=summary.headlines(contents, table),
        table=summary.page_table(contents, table),
        libraries=[get_plotlyjs()],
        scripts=[(BASE, name) for name in SCRIPTS],
        data=contents.data(),
    )
