"""Sphinx configuration: `make docs`. The build generates pages from the code."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib.metadata import version as version_of
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.ext.napoleon import GoogleDocstring

from fedpoison.cli.describe import REGISTRIES
from fedpoison.studies.reproduce import STUDIES
from fedpoison.studies.study import built_in_studies, find_study

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import pages  # noqa: E402  # in this folder

project = "fedpoison"
author = "The fedpoison developers"
version = release = version_of("fedpoison")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["conf.py", "pages.py"]
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
smartquotes = False  # --option is no dash
default_role = "code"  # docstrings put names in single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True}
python_maximum_signature_line_length = 90
pygments_style = "friendly"
highlight_language = "text"

html_theme = "furo"  # brings its own fonts and scripts: no page loads anything from another host
html_title = "fedpoison"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False


def remarks() -> str:
    """Return the known differences of each study from the publication."""
    parts = [f"`{study.name}`\n: {' '.join(study.remarks)}\n" for study in STUDIES.values()]
    return "## Known differences\n\n" + "\n".join(parts)


def studies() -> str:
    """Return the description of each built-in study."""
    parts = []
    for study in map(find_study, built_in_studies()):
        text = " ".join(study.description.split())
        parts.append(f"`{study.name}`\n: {study.title}, {len(study.cells())} runs. {text}\n")
    return "\n".join(parts)


GENERATED: dict[str, Callable[[], str]] = {
    "command line": pages.command_page,
    "remarks": remarks,
    "studies": studies,
    "scenario": pages.scenario_fields,
    **{kind: lambda kind=kind: pages.catalogue_page(kind) for kind in REGISTRIES},  # type: ignore[misc]
}
"""Text that replaces `<!-- generated: NAME -->`."""


def fill(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Replace each mark in a page by its generated text."""
    for name, body in GENERATED.items():
        mark = f"<!-- generated: {name} -->"
        if mark in source[0]:
            source[0] = source[0].replace(mark, body())


def read_sections(_app: Sphinx, what: str, *_rest: object) -> None:
    """Turn `Args:`, `Returns:` and `Raises:` into lists.

    The extension napoleon would read text before a colon in the docstring of an attribute as its type.
    """
    lines = _rest[-1]
    if what not in ("attribute", "data", "property") and isinstance(lines, list):
        lines[:] = GoogleDocstring(lines, what=what).lines()


def check_hosts(app: Sphinx, failed: Exception | None) -> None:
    """Fail if a page loads a script, a style or an image from another host."""
    for page in [] if failed else sorted(Path(app.outdir).rglob("*.html")):
        found = re.search(
            r"""<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=["'](?:https?:)?//[^>]*>""", page.read_text()
        )
        if found:
            raise ExtensionError(f"{page.name}: loads from another host: {found[0]}")


def setup(app: Sphinx) -> None:
    """Connect the functions above to the build."""
    app.connect("source-read", fill)
    app.connect("autodoc-process-docstring", read_sections)
    app.connect("build-finished", check_hosts)
