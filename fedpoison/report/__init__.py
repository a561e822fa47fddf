"""The report: stored runs as one HTML page that needs no network, and its figures for print."""

from __future__ import annotations

from fedpoison.report.gather import StoredRuns, gather
from fedpoison.report.write import Written, write_report
from fedpoison.store import StoredRun

__all__ = ["StoredRun", "StoredRuns", "Written", "gather", "write_report"]
