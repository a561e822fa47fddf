"""The aggregation of buffers: state of a model that training does not optimise, as running statistics are."""

from __future__ import annotations

import torch
from torch import Tensor


def aggregate_buffer(values: Tensor, trust: Tensor, before: Tensor) -> Tensor:
    """Aggregate one buffer of all clients with the trust that the rule gave to their updates.

    A floating-point buffer becomes the mean, weighted with the trust. Any other buffer, such as a counter of
    batches, becomes the largest value. Clients of trust 0 do not take part, so their values may be anything,
    even NaN. If the rule trusts no client, the buffer does not change.

    >>> variances = torch.tensor([[1.0], [3.0], [1e9]])
    >>> aggregate_buffer(variances, torch.tensor([0.5, 0.5, 0.0]), before=torch.tensor([1.0]))
    tensor([2.])
    >>> aggregate_buffer(torch.tensor([4, 7, 10**9]), torch.tensor([0.5, 0.5, 0.0]), before=torch.tensor(0))
    tensor(7)

    Args:
        values: the buffer of each client, (n, *shape).
        trust: weight of each client in the aggregate, (n,), none negative.
        before: the buffer before the round, (*shape).

    Returns:
        A new tensor (*shape) in the dtype of `values`.
    """
    trusted = (trust > 0).nonzero().flatten().to(values.device)
    if not len(trusted):
        return before.to(values).clone()
    kept = values[trusted]
    if not values.is_floating_point():
        return kept.amax(dim=0)
    shares = trust.to(values.device).double()[trusted]
    mean: Tensor = torch.tensordot(shares / shares.sum(), kept.double(), dims=1)
    return mean.to(values.dtype)
