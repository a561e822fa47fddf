"""One call of a rule, looked at from all sides: what the contract suite does on every call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fedpoison.errors import ensure
from strategies.rule import Aggregate, Context
from strategies.rule import AggregationRule as Rule


def examined(rule: Rule, updates: Tensor, weights: Tensor | None, context: Context) -> Aggregate:
    """Return what the rule makes of its arguments, or raise CheckError if it breaks a law."""
    arguments = _tensors(updates, weights, context)
    kept = {name: tensor.clone() for name, tensor in arguments.items()}
    streams = _global_streams()
    result = rule(updates, weights, context)
    n, d = updates.shape
    case = f"for {n} updates of {updates.dtype}"
    after = _tensors(updates, weights, context)
    untouched = after.keys() == kept.keys() and all(torch.equal(after[name], kept[name]) for name in kept)
    ensure(untouched, rule, f"writes to its arguments {case}")
    ensure(_global_streams() == streams, rule, "draws from a global random stream")
    update, trust = result.update, result.trust
    ensure(update.shape == (d,), rule, f"returns {tuple(update.shape)}, wanted {(d,)} {case}")
    ensure(update.dtype == updates.dtype, rule, f"returns {update.dtype} {case}")
    ensure(update.isfinite().all(), rule, f"returns what is not finite {case}")
    ensure(trust.shape == (n,), rule, f"returns trust {tuple(trust.shape)}, wanted {(n,)} {case}")
    ensure(trust.dtype == torch.float64, rule, f"returns trust as {trust.dtype}, wanted float64")
    ensure(trust.isfinite().all() and (trust >= 0).all(), rule, f"returns trust {trust.tolist()} {case}")
    ensure(trust.sum() <= 1 + 1e-9, rule, f"gives away {float(trust.sum())} of trust {case}")
    named = all(isinstance(name, str) and isinstance(value, Tensor) for name, value in result.state.items())
    ensure(named, rule, "returns a state that is not a mapping of names to tensors")
    returned = [update, trust, *result.state.values()]
    shared = {_storage(tensor) for tensor in arguments.values() if tensor.numel()} & {
        *map(_storage, returned)
    }
    ensure(not shared, rule, f"returns memory of its arguments {case}")
    return result


def same(first: Sequence[Aggregate], second: Sequence[Aggregate]) -> bool:
    """Return whether two plays agree bit for bit, in what is remembered too."""
    return all(
        torch.equal(a.update, b.update)
        and torch.equal(a.trust, b.trust)
        and list(a.state) == list(b.state)
        and all(map(torch.equal, a.state.values(), b.state.values()))
        for a, b in zip(first, second, strict=True)
    )


def close(wanted: Sequence[Aggregate], got: Sequence[Aggregate], dtype: torch.dtype) -> bool:
    """Return whether the updates agree up to rounding, relative to the largest coordinate."""
    tolerance = 1e-4 if dtype == torch.float32 else 1e-7
    return all(
        float((a.update - b.update).abs().max()) <= tolerance * max(1e-3, float(a.update.abs().max()))
        for a, b in zip(wanted, got, strict=True)
    )


def _tensors(updates: Tensor, weights: Tensor | None, context: Context) -> dict[str, Tensor]:
    """Return every tensor that a rule is handed, by name."""
    handed = {"updates": updates, "weights": weights, "model": context.model}
    handed |= {f"state {name}": tensor for name, tensor in context.state.items()}
    return {name: tensor for name, tensor in handed.items() if tensor is not None}


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _global_streams() -> tuple[bytes, ...]:
    """Return the state of the random streams that everybody shares, to see them left alone."""
    numpy_state = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    return (
        torch.get_rng_state().numpy().tobytes(),
        numpy_state["key"].tobytes(),
        bytes([numpy_state["pos"] % 256]),
    )
