"""The IDX format of MNIST and its relatives."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedpoison.errors import DataError

UNSIGNED_BYTES = 8
"""The type code of unsigned bytes, the third byte of a file."""


def read_idx(path: Path, *, sha256: str | None = None) -> NDArray[np.uint8]:
    """Return the array of unsigned bytes in an IDX file, in the shape that its header gives.

    Args:
        path: the file.
        sha256: what its bytes must hash to, where that is known.

    Raises:
        DataError: the file cannot be read, is no IDX file, is cut off, or has another checksum.
    """
    remedy = "delete it, so that it is downloaded anew, or copy it again"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {remedy}.") from None
    dimensions = content[3] if len(content) > 3 else 0  # two zeros, type, dimensions
    if content[:3] != bytes((0, 0, UNSIGNED_BYTES)) or not dimensions:
        raise DataError(f"{path}: is not an IDX file of bytes; {remedy}.")
    offset = 4 + 4 * dimensions
    shape = tuple(np.frombuffer(content[4:offset], dtype=">u4").tolist())
    if len(shape) < dimensions or len(content) != offset + math.prod(shape):
        raise DataError(
            f"{path}: got {len(content)} bytes, wanted {offset + math.prod(shape)}: the file is cut off or "
            f"damaged; {remedy}."
        )
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(f"{path}: the checksum is wrong, so the file is damaged; {remedy}.")
    return np.frombuffer(content, dtype=np.uint8, offset=offset).reshape(shape)
