"""The report: stored runs as one HTML page that needs no network, and its figures for print."""

from __future__ import annotations

from fedpoison.report.load import StoredRuns, gather
from fedpoison.report.write import Written, write_report
from fedpoison.results.store import StoredRun

__all__ = ["StoredRun", "StoredRuns", "Written", "gather", "write_report"]
