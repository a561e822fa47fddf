"""One call of a rule, looked at from all sides: what the contract suite does on every call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from strategies.rule import Aggregate, Context
from strategies.rule import AggregationRule as Rule


class ContractError(AssertionError):
    """A rule breaks one of the laws of `strategies.rule.Rule`, or its card says what is not so."""


def require_law(condition: object, rule: Rule, fault: str) -> None:
    """Raise ContractError, which names the rule and its fault, unless the condition holds."""
    if not condition:
        raise ContractError(f"{rule!r} {fault}.")


def examined(rule: Rule, updates: Tensor, weights: Tensor | None, context: Context) -> Aggregate:
    """Return what the rule makes of its arguments, or raise ContractError where it breaks a law."""
    arguments = _tensors(updates, weights, context)
    kept = {name: tensor.clone() for name, tensor in arguments.items()}
    streams = _global_streams()
    result = rule(updates, weights, context)
    n, d = updates.shape
    case = f"for {n} updates of {updates.dtype}"
    after = _tensors(updates, weights, context)
    untouched = after.keys() == kept.keys() and all(torch.equal(after[name], kept[name]) for name in kept)
    require_law(untouched, rule, f"writes to its arguments {case}")
    require_law(_global_streams() == streams, rule, "draws from a global random stream")
    update, trust = result.update, result.trust
    require_law(update.shape == (d,), rule, f"returns {tuple(update.shape)}, wanted {(d,)} {case}")
    require_law(update.dtype == updates.dtype, rule, f"returns {update.dtype} {case}")
    require_law(update.isfinite().all(), rule, f"returns what is not finite {case}")
    require_law(trust.shape == (n,), rule, f"returns trust {tuple(trust.shape)}, wanted {(n,)} {case}")
    require_law(trust.dtype == torch.float64, rule, f"returns trust as {trust.dtype}, wanted float64")
    require_law(trust.isfinite().all() and (trust >= 0).all(), rule, f"returns trust {trust.tolist()} {case}")
    require_law(trust.sum() <= 1 + 1e-9, rule, f"gives away {float(trust.sum())} of trust {case}")
    named = all(isinstance(name, str) and isinstance(value, Tensor) for name, value in result.state.items())
    require_law(named, rule, "returns a state that is not a mapping of names to tensors")
    returned = [update, trust, *result.state.values()]
    shared = {_storage(tensor) for tensor in arguments.values() if tensor.numel()} & {
        *map(_storage, returned)
    }
    require_law(not shared, rule, f"returns memory of its arguments {case}")
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
