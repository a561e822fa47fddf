"""The report: stored runs as one HTML page that needs no network, and its figures for print."""

from __future__ import annotations

from fedpoison.report.load import StoredRuns, load_runs
from fedpoison.report.write import ReportSummary, write_report
from fedpoison.results.store import StoredRun

__all__ = ["ReportSummary", "StoredRun", "StoredRuns", "load_runs", "write_report"]
