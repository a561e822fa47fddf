"""What should be known of runs that are read from the store, not made."""

from __future__ import annotations

from collections.abc import Iterable

from fedpoison.environment import versions
from fedpoison.simulation import Notify
from fedpoison.store import RunFolder


def tell_versions(folders: Iterable[RunFolder], notify: Notify) -> None:
    """Say which other versions of fedpoison made the runs in these folders, once each."""
    made_by = dict.fromkeys(folder.version for folder in folders)
    if not made_by:
        return
    ours = versions()["fedpoison"]
    for version in made_by:
        if version not in (None, ours):
            notify(f"runs in the store are used that fedpoison {version} made; this is {ours}. See --fresh.")
