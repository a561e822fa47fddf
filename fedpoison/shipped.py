"""The built-in studies: the TOML files in `fedpoison/studies/library`."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path

from fedpoison.errors import unknown
from fedpoison.study import Study


def shipped() -> dict[str, str]:
    """Return the TOML texts of the built-in studies by name."""
    library = files("fedpoison.studies") / "library"
    texts = {
        file.name.removesuffix(".toml"): file.read_text(encoding="utf-8")
        for file in library.iterdir()
        if file.name.endswith(".toml")
    }
    return dict(sorted(texts.items()))


def find_study(name: str) -> Study:
    """Return the built-in study of that name, or the study in the file of that path.

    Raises:
        ScenarioError: No built-in study has the name and it is no TOML file, or the file is not a study.
    """
    texts = shipped()
    if name in texts:
        return Study.parse(tomllib.loads(texts[name]))
    if not name.endswith(".toml"):
        raise unknown("study", name, texts)
    return Study.load(Path(name))
