"""Names of files, made of the names of other things."""

from __future__ import annotations

import re
from collections.abc import Collection
from hashlib import blake2b
from itertools import count

LONGEST = 150
"""Letters of a file's name: file systems take 255 bytes."""


def file_name(name: str, taken: Collection[str] = ()) -> str:
    """Return the name with letters, digits and hyphens only, and a number where that is taken.

    A long name is cut, and ends with a digest of the whole.

    >>> file_name("sign-flip(factor=-5)"), file_name("sign-flip(factor=.5)", ["sign-flip-factor-5"])
    ('sign-flip-factor-5', 'sign-flip-factor-5-2')
    """
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
    if len(plain) > LONGEST:
        plain = f"{plain[:LONGEST].rstrip('-')}-{_digest(name)}"
    numbered = (plain if number == 1 else f"{plain}-{number}" for number in count(1))
    return next(free for free in numbered if free not in taken)


def content_name(kind: str, *content: object) -> str:
    """Return a name for what is made of this content: the same again for the same content.

    >>> content_name("compare", "median", (0, 1))
    'compare-b17fabbc'
    """
    return f"{kind}-{_digest(repr(content))}"


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=4).hexdigest()
