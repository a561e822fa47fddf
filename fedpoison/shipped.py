"""The studies that ship with fedpoison: `experiments/*.toml`, beside this package."""

from __future__ import annotations

from pathlib import Path

from fedpoison.errors import unknown
from fedpoison.study import Study

SHIPPED = Path(__file__).parents[1] / "experiments"


def shipped() -> dict[str, Path]:
    """Return the files of the shipped studies by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}


def find_study(name: str) -> Study:
    """Return the shipped study of that name, or else the one in the file of that path.

    Raises:
        ScenarioError: there is neither, or the file is not a study.
    """
    files = shipped()
    if name not in files and not name.endswith(".toml"):
        raise unknown("study", name, files)
    return Study.load(files.get(name, Path(name)))
