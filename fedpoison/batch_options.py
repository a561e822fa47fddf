"""How many runs are made, where they are kept, and who is told."""

from __future__ import annotations

from pathlib import Path
from typing import Required, TypedDict

from fedpoison.environment import Notify
from fedpoison.watch import Watch


class BatchOptions(TypedDict, total=False):
    """How runs are made and who is told of them: the keywords that whatever makes many runs takes."""

    out: Required[Path]
    """The run store; runs that it holds complete are read, not made again."""
    jobs: int | None
    """How many runs at once; None is one for each processor. With 1 everything stays in this process, where
    the one run has all processors."""
    ray_address: str | None
    """A Ray cluster to use, as for `ray_session`."""
    fresh: bool
    """Whether to make anew what the store already holds."""
    data_dir: Path | None
    """As for `simulate`."""
    watch: Watch
    """Is told how the runs go."""
    notify: Notify
    """Told before the first run, once for each attack that its settings make do nothing, and for each other
    version, or edited code, of fedpoison that made runs which are read; unset, they are logged."""
