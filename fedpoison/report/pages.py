"""Pages: one HTML file from a template, with its styles, scripts and data, which needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING

from fedpoison.results.run_frame import format_spread, percent
from fedpoison.results.strict_json import to_json

if TYPE_CHECKING:
    from markupsafe import Markup

BASE = "fedpoison.report"
"""Package with the template that all pages extend, its style and the scripts that pages share."""
TABLE_SCRIPTS = ("elements.js", "address.js", "theme.js", "table.js")
"""Scripts of tables that sort and filter, with choices in the address of the page."""


def render(
    template: str,
    package: str = BASE,
    *,
    scripts: Sequence[tuple[str, str]] = (),
    libraries: Sequence[str] = (),
    data: object = None,
    **context: object,
) -> str:
    """Return a page as text.

    Args:
        template: File in the folder `templates` of the package. It extends `base.html.j2`.
        package: Package of the template.
        scripts: Package and file name of each script, in the order in which they run.
        libraries: Code of other projects, which runs before the scripts.
        data: Plain values, which scripts read from the element `data`. None: the page has no such element.
        context: Other variables of the template.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined  # noqa: PLC0415  # only pages
    from markupsafe import Markup  # noqa: PLC0415  # only pages need markupsafe

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in dict.fromkeys([package, BASE])]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.globals["spread"] = format_spread
    return environment.get_template(template).render(
        version=version("fedpoison"),
        made=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
        style=asset("page.css"),
        scripts=[
            *(Markup(code) for code in libraries),  # noqa: S704  # code of our dependencies
            *(asset(name, place) for place, name in scripts),
        ],
        data=None if data is None else Markup(embedded(data)),  # noqa: S704  # escaped
        **context,
    )


def asset(name: str, package: str = BASE) -> Markup:
    """Return the text of a file in the folder `templates` of a package, which is safe in a page."""
    from markupsafe import Markup  # noqa: PLC0415  # only pages need markupsafe

    text = (files(package) / "templates" / name).read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704  # our own file


def embedded(data: object) -> str:
    r"""Return data as JSON that is safe inside a script element.

    >>> embedded("</script>")
    '"\\u003c/script\\u003e"'
    """
    text = to_json(data, compact=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
