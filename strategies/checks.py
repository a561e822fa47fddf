"""Checks of rules: `check_rule` tests that a rule has every property that `Rule` lists."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import fields, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from fedpoison.errors import CheckError, ensure
from strategies.base import Aggregate, Context, InputError, PreconditionError
from strategies.base import AggregationRule as Rule
from strategies.kernels.columns import intra_op_threads
from strategies.synthetic import SyntheticRounds, copy_state, strided, transposed


def checked_call(rule: Rule, updates: Tensor, weights: Tensor | None, context: Context) -> Aggregate:
    """Return the rule's result, or raise CheckError if the call lacks a property."""
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
    ensure(update.shape == (d,), rule, f"returns {tuple(update.shape)}, expected {(d,)} {case}")
    ensure(update.dtype == updates.dtype, rule, f"returns {update.dtype} {case}")
    ensure(update.isfinite().all(), rule, f"returns an update that is not finite {case}")
    ensure(trust.shape == (n,), rule, f"returns trust {tuple(trust.shape)}, expected {(n,)} {case}")
    ensure(trust.dtype == torch.float64, rule, f"returns trust as {trust.dtype}, expected float64")
    ensure(trust.isfinite().all() and (trust >= 0).all(), rule, f"returns trust {trust.tolist()} {case}")
    ensure(
        trust.sum() <= 1 + 1e-9, rule, f"returns trust of sum {float(trust.sum())}, expected at most 1 {case}"
    )
    named = all(isinstance(name, str) and isinstance(value, Tensor) for name, value in result.state.items())
    ensure(named, rule, "returns a state that is not a mapping of names to tensors")
    returned = [update, trust, *result.state.values()]
    shared = {_storage(tensor) for tensor in arguments.values() if tensor.numel()} & {
        *map(_storage, returned)
    }
    ensure(not shared, rule, f"returns memory of its arguments {case}")
    return result


def equal_aggregates(first: Sequence[Aggregate], second: Sequence[Aggregate]) -> bool:
    """Return whether two runs agree bit for bit, states included."""
    return all(
        torch.equal(a.update, b.update)
        and torch.equal(a.trust, b.trust)
        and list(a.state) == list(b.state)
        and all(map(torch.equal, a.state.values(), b.state.values()))
        for a, b in zip(first, second, strict=True)
    )


def nearly_equal(expected: Sequence[Aggregate], got: Sequence[Aggregate], dtype: torch.dtype) -> bool:
    """Return whether the updates agree up to rounding, relative to the largest coordinate."""
    tolerance = 1e-4 if dtype == torch.float32 else 1e-7
    return all(
        float((a.update - b.update).abs().max()) <= tolerance * max(1e-3, float(a.update.abs().max()))
        for a, b in zip(expected, got, strict=True)
    )


def _tensors(updates: Tensor, weights: Tensor | None, context: Context) -> dict[str, Tensor]:
    """Return the tensors among a rule's arguments, by name."""
    arguments = {"updates": updates, "weights": weights, "model": context.model}
    arguments |= {f"state {name}": tensor for name, tensor in context.state.items()}
    return {name: tensor for name, tensor in arguments.items() if tensor is not None}


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _global_streams() -> tuple[bytes, ...]:
    """Return the state of the global random streams, to check that a rule does not draw from them."""
    numpy_state = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    return (
        torch.get_rng_state().numpy().tobytes(),
        numpy_state["key"].tobytes(),
        bytes([numpy_state["pos"] % 256]),
    )


__all__ = ["CheckError", "check_rule"]

OPTIONAL = {
    "root data", "root images", "root labels", "model", "predictions", "gradients", "randomness",
}  # fmt: skip
"""Needs without which a rule may raise InputError."""
NEEDS = {"byzantine", "history", *OPTIONAL}
ExpectedError = type[InputError] | type[PreconditionError]
HUGE = 1e25
"""A finite number whose square overflows in float32."""


def check_rule(rule: Rule, *, clients: Sequence[int] = (9, 10)) -> None:
    """Check that `rule` has every property that the docstring of `Rule` lists, and that its card is true.

    Args:
        rule: an instance. Check each setting that you use.
        clients: numbers of updates to try, odd and even. If the rule needs more, all are raised.
            Default: 9 and 10.

    Raises:
        CheckError: the rule lacks a property. The message names the rule and its fault.

    >>> from strategies.rules.median import Median
    >>> check_rule(Median())
    """
    check_form(rule)
    check_refusals(rule)
    check_edges(rule)
    raised = max(0, rule.minimum - min(clients))
    for dtype in (torch.float32, torch.float64):
        for n in clients:
            rounds = SyntheticRounds(n=n + raised, dtype=dtype)
            check_determinism(rule, rounds)
            check_needs(rule, rounds)
            check_card(rule, rounds)
    check_history(rule, SyntheticRounds(n=clients[0] + raised))


def check_form(rule: Rule) -> None:
    """Check that the rule is a frozen dataclass with a card and a label, and equals its copies."""
    parameters = getattr(type(rule), "__dataclass_params__", None)
    ensure(getattr(parameters, "frozen", False), rule, "is not a frozen dataclass")
    for duplicate in (deepcopy(rule), pickle.loads(pickle.dumps(rule))):  # noqa: S301 - our own bytes
        alike = duplicate == rule and hash(duplicate) == hash(rule) and repr(duplicate) == repr(rule)
        ensure(alike, rule, "differs from its copy")
    label = repr(rule)
    ensure(
        label.startswith(type(rule).__name__) and "\n" not in label,
        rule,
        "has a repr that is not one line after its class name",
    )
    card = rule.card
    ensure(
        card.paper and card.precondition and card.cost,
        rule,
        "has a card without a paper, precondition or cost",
    )
    ensure(set(card.needs) <= NEEDS, rule, f"needs {card.needs}, expected some of {sorted(NEEDS)}")
    parameter = any(field.name == "byzantine" for field in fields(cast("Any", rule)))
    ensure(
        not parameter or "byzantine" in card.needs,
        rule,
        "has a parameter `byzantine` that its card does not need",
    )
    ensure(rule.minimum >= 1, rule, f"has a minimum of {rule.minimum}, expected 1 or more")


def check_refusals(rule: Rule) -> None:
    """Check that the rule refuses too few updates, and anything but a matrix of finite updates."""
    least = rule.minimum
    rounds = SyntheticRounds(n=least + 1)
    good, weights, context = rounds.updates[0], rounds.weights, rounds.context()
    cases: list[tuple[Tensor, Tensor | None, str]] = []
    for fault in (torch.nan, torch.inf, -torch.inf):
        bad = good.clone()
        bad[-1, -1] = fault
        cases.append((bad, None, f"an update with {fault}"))
    cases += [
        (good[:0], None, "no updates"),
        (good[0], None, "a single vector"),
        (good.long(), None, "integers"),
        (good, weights[1:], "a weight too few"),
        (good, 0 * weights, "weights that are all 0"),
    ]
    for fault in (torch.nan, -1.0):
        bad = weights.clone()
        bad[0] = fault
        cases.append((good, bad, f"a weight of {fault}"))
    for updates, given, case in cases:
        _refuses(rule, updates, given, context, error=InputError, case=case)
    if least > 1:
        few = rounds.context(client_ids=range(least - 1))
        case = f"n = {least - 1}, below its minimum"
        _refuses(rule, good[: least - 1], None, few, error=PreconditionError, case=case)


def check_edges(rule: Rule) -> None:
    """Check the smallest rounds, ties, equal updates, zeros, huge numbers, odd weights and a bare matrix."""
    for n in (rule.minimum, rule.minimum + 1, rule.minimum + 4):
        rounds = SyntheticRounds(n=n)
        usual, context = rounds.updates[0], rounds.context
        ties = usual.clone()
        ties[n // 2 :] = usual[: n - n // 2]
        huge = usual.clone()
        huge[0] *= HUGE
        huge[-1] = -huge[0]
        for updates in (usual, ties, (10 * usual).round(), 0 * usual, huge, 1e-20 * usual):
            checked_call(rule, updates, rounds.weights, context())
        lazy = rounds.weights.clone()
        lazy[1:] = 0
        for weights in (None, lazy, rounds.weights.long(), rounds.weights.float()):
            checked_call(rule, usual, weights, context())
        try:
            bare = checked_call(rule, usual, None, Context())
            ensure(
                equal_aggregates([bare], [rule(usual)]), rule, "differs between no context and an empty one"
            )
            checked_call(rule, usual, None, Context(round=2, state=copy_state(bare.state)))
        except InputError:
            optional = OPTIONAL & set(rule.card.needs)
            ensure(optional, rule, "refuses a matrix without context, though its card needs none")


def check_determinism(rule: Rule, rounds: SyntheticRounds) -> None:
    """Check that the result is the same twice, on any number of threads and from any storage."""
    first = rounds.run(rule, checked_call)
    copy = pickle.loads(pickle.dumps(rule))  # noqa: S301 - our own bytes
    for again in (rule, copy):
        ensure(
            equal_aggregates(first, rounds.run(again, checked_call)), rule, "does not return the same twice"
        )
    wide = SyntheticRounds(n=rounds.n, dtype=rounds.dtype, image_shape=(1, 16, 16))
    with intra_op_threads(1):
        alone = wide.run(rule, checked_call)
    with intra_op_threads(2):
        together = wide.run(rule, checked_call)
    ensure(equal_aggregates(alone, together), rule, "depends on the number of threads")
    for store in (transposed, strided):
        other = rounds.run(rule, checked_call, store=store)
        ensure(
            nearly_equal(first, other, rounds.dtype), rule, f"differs for updates that are {store.__name__}"
        )


def check_card(rule: Rule, rounds: SyntheticRounds) -> None:
    """Check the flags of the card."""
    card, n = rule.card, rounds.n
    usual = rounds.run(rule, checked_call)
    if card.permutation_equivariant:
        for order in (
            [*range(n)][::-1],
            torch.randperm(n, generator=torch.Generator().manual_seed(n)).tolist(),
        ):
            shuffled = rounds.run(rule, checked_call, order=order)
            expected = [replace(result, trust=result.trust[order]) for result in usual]
            ensure(
                nearly_equal(expected, shuffled, rounds.dtype), rule, f"depends on the order of {n} clients"
            )
            off = max(float((a.trust - b.trust).abs().max()) for a, b in zip(expected, shuffled, strict=True))
            ensure(off < 1e-4, rule, f"trusts other clients if the {n} clients are in another order")
    if card.unanimous:
        same = rounds.run(rule, checked_call, change=_first_row)
        expected = [replace(a, update=u[0]) for a, u in zip(same, rounds.updates, strict=True)]
        ensure(nearly_equal(expected, same, rounds.dtype), rule, "is not unanimous for equal updates")
    generator = torch.Generator().manual_seed(n)
    turn = torch.linalg.qr(torch.randn(rounds.d, rounds.d, generator=generator, dtype=torch.float64))[0]
    equivariances: tuple[tuple[bool, Callable[[Tensor], Tensor], str], ...] = (
        (card.translation_equivariant, lambda rows: rows + rounds.model, "is not translation equivariant"),
        (card.scale_equivariant, lambda rows: 3.0 * rows, "is not scale equivariant by 3"),
        (card.scale_equivariant, lambda rows: 0.125 * rows, "is not scale equivariant by 0.125"),
        (card.rotation_equivariant, lambda rows: rows @ turn.to(rows), "is not rotation equivariant"),
    )
    for claimed, change, fault in equivariances:
        if claimed:
            changed = rounds.run(rule, checked_call, change=change)
            expected = [replace(result, update=change(result.update)) for result in usual]
            ensure(nearly_equal(expected, changed, rounds.dtype), rule, fault)
    weighted = not equal_aggregates(usual, rounds.run(rule, checked_call, weighted=False))
    fault = f"has a card with uses_weights={card.uses_weights}, expected {weighted}"
    ensure(weighted == card.uses_weights, rule, fault)
    if card.coordinate_wise:
        half = rounds.run(rule, checked_call, change=lambda rows: rows[..., ::2].contiguous())
        for result, part in zip(usual, half, strict=True):
            alike = torch.allclose(result.update[::2], part.update, rtol=1e-4, atol=1e-6)
            ensure(alike, rule, "is not coordinate-wise")
    trusting = _without_byzantine(rule) if card.mean_without_byzantine else None
    if trusting is not None:
        plain = rounds.run(trusting, checked_call, weighted=False)
        expected = [replace(a, update=u.mean(dim=0)) for a, u in zip(plain, rounds.updates, strict=True)]
        ensure(nearly_equal(expected, plain, rounds.dtype), rule, "is not the mean without malicious clients")


def check_needs(rule: Rule, rounds: SyntheticRounds) -> None:
    """Check that the rule uses only the inputs that its card needs."""
    needs, updates = rule.card.needs, rounds.updates[0]
    context = rounds.context()
    usual = checked_call(rule, updates, rounds.weights, context)
    if "randomness" not in needs:
        untouched = torch.Generator().manual_seed(1).get_state()
        generator = context.generator
        drawn = generator is not None and not torch.equal(generator.get_state(), untouched)
        ensure(not drawn, rule, "draws random numbers, though its card does not need randomness")
    if "root data" not in needs:
        other = checked_call(rule, updates, rounds.weights, replace(rounds.context(), root_update=None))
        ensure(equal_aggregates([usual], [other]), rule, "uses root data that its card does not need")
    if "root images" not in needs:
        other = checked_call(rule, updates, rounds.weights, replace(rounds.context(), root_images=None))
        ensure(equal_aggregates([usual], [other]), rule, "uses root images that its card does not need")
    if "root labels" not in needs:
        other = checked_call(rule, updates, rounds.weights, replace(rounds.context(), root_labels=None))
        ensure(equal_aggregates([usual], [other]), rule, "uses root labels that its card does not need")
    if "gradients" not in needs:
        other = checked_call(rule, updates, rounds.weights, replace(rounds.context(), gradient=None))
        ensure(equal_aggregates([usual], [other]), rule, "uses gradients that its card does not need")
    if "model" not in needs:
        modelless = replace(rounds.context(), model=-3 * rounds.model)
        other = checked_call(rule, updates, rounds.weights, modelless)
        ensure(equal_aggregates([usual], [other]), rule, "uses a model that its card does not need")
    if "predictions" not in needs:
        blind = replace(rounds.context(), predict=None, image_shape=None)
        other = checked_call(rule, updates, rounds.weights, blind)
        ensure(equal_aggregates([usual], [other]), rule, "uses predictions that its card does not need")
    if "history" not in needs:
        ensure(not usual.state, rule, "keeps a state, though its card does not need history")


def check_history(rule: Rule, rounds: SyntheticRounds) -> None:
    """Check that the rule runs on its own state while the sampled clients change."""
    n = rounds.n
    later = [*range(n // 2, n), *range(50, 50 + n // 2)]
    casts = [[*range(n)], later, later[::-1], later[: max(n - 2, rule.minimum)], [*range(n)]]
    state: Mapping[str, Tensor] = {}
    for server_round, client_ids in enumerate(casts, start=1):
        updates = rounds.updates[server_round % len(rounds.updates)][: len(client_ids)]
        context = rounds.context(server_round, client_ids=client_ids, state=state)
        state = copy_state(checked_call(rule, updates, rounds.weights[: len(client_ids)], context).state)


def _without_byzantine(rule: Rule) -> Rule | None:
    """Return the rule with `byzantine=0`, or None if another parameter differs from its default."""
    parameters = {field.name for field in fields(cast("Any", rule))}
    trusting = cast("Rule", replace(cast("Any", rule), byzantine=0)) if "byzantine" in parameters else rule
    return trusting if trusting == type(rule)() else None


def _refuses(
    rule: Rule, updates: Tensor, weights: Tensor | None, context: Context, *, error: ExpectedError, case: str
) -> None:
    try:
        rule(updates, weights, context)
    except error:
        return
    raise CheckError(f"{rule!r} accepts {case}, expected {error.__name__}.")


def _first_row(rows: Tensor) -> Tensor:
    return rows[:1].expand_as(rows) if rows.ndim > 1 else rows
