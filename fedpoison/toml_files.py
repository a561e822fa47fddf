"""Reading TOML files, with errors for their writer."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from fedpoison.errors import ScenarioError


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        ScenarioError: the file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScenarioError(
            f"{path}: cannot be read ({error.strerror}); give the path of a TOML file."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: is not valid TOML: {error}.") from None
