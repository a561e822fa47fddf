"""What should be known of runs that are read from the store, not made."""

from __future__ import annotations

from collections.abc import Iterable

from fedpoison.environment import Notify, sources, versions
from fedpoison.store import RunFolder


def tell_versions(folders: Iterable[RunFolder], notify: Notify) -> None:
    """Say which other versions of fedpoison, or which other code of this one, made these runs, once each."""
    made_by = dict.fromkeys(_made_by(folder) for folder in folders)
    if not made_by:
        return
    ours = versions()["fedpoison"]
    for version in dict.fromkeys(version for version, _ in made_by):
        if version not in (None, ours):
            notify(f"runs in the store are used that fedpoison {version} made; this is {ours}. See --fresh.")
    if {code for version, code in made_by if version == ours} - {None, sources()}:
        notify(
            f"runs in the store are used that fedpoison {ours} made before its code, or a package that adds "
            "to it, was edited. See --fresh."
        )


def _made_by(folder: RunFolder) -> tuple[str | None, str | None]:
    """Return the version and the code that made a run; None where that is not known."""
    known = folder.environment()
    packages = known.get("packages")
    version = packages.get("fedpoison") if isinstance(packages, dict) else None
    code = known.get("sources")
    return version, code if isinstance(code, str) else None
