"""Check that what a rule gives is what an oracle in NumPy gives."""

from __future__ import annotations

import numpy as np
import torch


def agree(rule, oracle, updates, dtype=torch.float64, tolerance=1e-9):
    """Check that a rule gives the update and the trust of its oracle."""
    result = rule(torch.from_numpy(updates).to(dtype))
    update, trust = oracle(updates)
    np.testing.assert_allclose(
        result.update.double(), update, rtol=tolerance, atol=tolerance, err_msg=repr(rule)
    )
    np.testing.assert_allclose(result.trust, trust, rtol=tolerance, atol=tolerance, err_msg=repr(rule))


def close(got, wanted):
    """Check that float64 numbers are equal but for their last digits."""
    np.testing.assert_allclose(np.asarray(got), wanted, rtol=1e-7, atol=1e-9)
