"""The report: stored runs as one HTML page that needs no network, and its figures for print."""

from typing import TYPE_CHECKING

from fedpoison.registry import lazy_names

if TYPE_CHECKING:
    from fedpoison.report.load import StoredRuns as StoredRuns
    from fedpoison.report.load import load_runs as load_runs
    from fedpoison.report.write import ReportSummary as ReportSummary
    from fedpoison.report.write import write_report as write_report

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "fedpoison.report.load": ["StoredRuns", "load_runs"],
        "fedpoison.report.write": ["ReportSummary", "write_report"],
    },
)
