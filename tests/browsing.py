"""A headless browser for tests of pages. Without one, the tests are skipped."""

import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def open_browser():
    """Yield a browser."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    with sync_api.sync_playwright() as playwright:
        installed = shutil.which("chromium") or shutil.which("google-chrome")
        path = installed or playwright.chromium.executable_path
        if not Path(path).is_file():
            pytest.skip("no chromium or google-chrome is installed")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def watched(browser):
    """A page in light colours, and a list of what goes wrong in it or is asked for."""
    page = browser.new_page(reduced_motion="reduce", color_scheme="light")
    troubles = []
    page.on("console", lambda told: troubles.append(told.text) if told.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: troubles.append(dialog.message))
    page.on("request", lambda request: troubles.append(request.url))
    return page, troubles


def rows(page, table):
    """The first cell of each visible row of a table."""
    return page.locator(f"table[data-table={table}] tbody tr:visible th").all_inner_texts()
