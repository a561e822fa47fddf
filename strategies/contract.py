"""The contract suite of rules: `check_rule` holds any rule, ours or yours, to the laws of `Rule`."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import fields, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from strategies.column_laws import check_columns
from strategies.examined import ContractError, close, examined, require_law, same
from strategies.one_thread import intra_op_threads
from strategies.rule import AggregationRule as Rule
from strategies.rule import Context, InputError, PreconditionError
from strategies.trial import Trial, copied, strided, transposed

__all__ = ["ContractError", "check_rule"]

NEEDS = {"byzantine", "root data", "history", "model", "randomness"}
OPTIONAL = {"root data", "model", "randomness"}
"""Without what these stand for, a rule may refuse to work."""
Refusal = type[InputError] | type[PreconditionError]
HUGE = 1e25
"""A finite number whose square is none in float32."""


def check_rule(rule: Rule, *, clients: Sequence[int] = (9, 10)) -> None:
    """Raise ContractError unless `rule` keeps every law of the `Rule` docstring and its card is true.

    Args:
        rule: an instance; check each of the settings that you care about.
        clients: numbers of updates to try, odd and even; all are raised until the rule is defined.

    >>> from strategies.median import Median
    >>> check_rule(Median())
    """
    check_form(rule)
    check_refusals(rule)
    check_edges(rule)
    raised = max(0, rule.minimum - min(clients))
    for dtype in (torch.float32, torch.float64):
        for n in clients:
            trial = Trial(n=n + raised, dtype=dtype)
            check_determinism(rule, trial)
            check_needs(rule, trial)
            check_card(rule, trial)
    check_history(rule, Trial(n=clients[0] + raised))


def check_form(rule: Rule) -> None:
    """Check that the rule is a frozen dataclass with a card, and is its own copy and label."""
    parameters = getattr(type(rule), "__dataclass_params__", None)
    require_law(getattr(parameters, "frozen", False), rule, "is no frozen dataclass")
    for twin in (deepcopy(rule), pickle.loads(pickle.dumps(rule))):  # noqa: S301 - our own bytes
        alike = twin == rule and hash(twin) == hash(rule) and repr(twin) == repr(rule)
        require_law(alike, rule, "differs from its copy")
    label = repr(rule)
    require_law(
        label.startswith(type(rule).__name__) and "\n" not in label, rule, "has a repr that is no label"
    )
    card = rule.card
    require_law(card.paper and card.precondition and card.cost, rule, "has a bare card")
    require_law(set(card.needs) <= NEEDS, rule, f"needs {card.needs}, of which the words are {sorted(NEEDS)}")
    knob = any(field.name == "byzantine" for field in fields(cast("Any", rule)))
    require_law(
        not knob or "byzantine" in card.needs, rule, "has a knob `byzantine` that its card does not need"
    )
    require_law(rule.minimum >= 1, rule, f"has a minimum of {rule.minimum}")


def check_refusals(rule: Rule) -> None:
    """Check that the rule refuses too few updates, and what is no matrix of finite updates."""
    least = rule.minimum
    trial = Trial(n=least + 1)
    good, context = trial.updates[0], trial.context()
    if least > 1:
        few = trial.context(nodes=range(least - 1))
        _refuses(
            rule,
            good[: least - 1],
            None,
            few,
            error=PreconditionError,
            what=f"n = {least - 1}, below its minimum",
        )
    for fault in (torch.nan, torch.inf, -torch.inf):
        bad = good.clone()
        bad[-1, -1] = fault
        _refuses(rule, bad, None, context, error=InputError, what=f"an update that holds {fault}")
    _refuses(rule, good[:0], None, context, error=InputError, what="no updates")
    _refuses(rule, good[0], None, context, error=InputError, what="a single vector")
    _refuses(rule, good.long(), None, context, error=InputError, what="integers")
    for fault in (torch.nan, -1.0):
        weights = trial.weights.clone()
        weights[0] = fault
        _refuses(rule, good, weights, context, error=InputError, what=f"a weight of {fault}")
    _refuses(rule, good, trial.weights[1:], context, error=InputError, what="a weight too few")
    _refuses(rule, good, 0 * trial.weights, context, error=InputError, what="weights that are all 0")


def check_edges(rule: Rule) -> None:
    """Check the smallest rounds, ties, twins, zeros, huge numbers, odd weights and a bare matrix."""
    for n in (rule.minimum, rule.minimum + 1, rule.minimum + 4):
        trial = Trial(n=n)
        usual, context = trial.updates[0], trial.context
        twins = usual.clone()
        twins[n // 2 :] = usual[: n - n // 2]
        huge = usual.clone()
        huge[0] *= HUGE
        huge[-1] = -huge[0]
        for updates in (usual, twins, (10 * usual).round(), 0 * usual, huge, 1e-20 * usual):
            examined(rule, updates, trial.weights, context())
        lazy = trial.weights.clone()
        lazy[1:] = 0
        for weights in (None, lazy, trial.weights.long(), trial.weights.float()):
            examined(rule, usual, weights, context())
        try:
            bare = examined(rule, usual, None, Context())
            require_law(same([bare], [rule(usual)]), rule, "differs between no context and an empty one")
            examined(rule, usual, None, Context(round=2, state=copied(bare.state)))
        except InputError:
            optional = OPTIONAL & set(rule.card.needs)
            require_law(optional, rule, "refuses a bare matrix, though its card needs nothing beyond it")


def check_determinism(rule: Rule, trial: Trial) -> None:
    """Check that the same comes out twice, on any number of threads and from any storage."""
    first = trial.play(rule, examined)
    copy = pickle.loads(pickle.dumps(rule))  # noqa: S301 - our own bytes
    for again in (rule, copy):
        require_law(same(first, trial.play(again, examined)), rule, "does not give the same twice")
    wide = Trial(n=trial.n, dtype=trial.dtype, image_shape=(1, 16, 16))
    with intra_op_threads(1):
        alone = wide.play(rule, examined)
    with intra_op_threads(2):
        together = wide.play(rule, examined)
    require_law(same(alone, together), rule, "depends on the number of threads")
    for store in (transposed, strided):
        other = trial.play(rule, examined, store=store)
        require_law(close(first, other, trial.dtype), rule, f"differs for updates that are {store.__name__}")


def check_card(rule: Rule, trial: Trial) -> None:
    """Check the flags of the card: order, unanimity, translation, scale and the plain mean."""
    card, n = rule.card, trial.n
    usual = trial.play(rule, examined)
    if card.permutation_equivariant:
        for order in (
            [*range(n)][::-1],
            torch.randperm(n, generator=torch.Generator().manual_seed(n)).tolist(),
        ):
            shuffled = trial.play(rule, examined, order=order)
            expected = [replace(result, trust=result.trust[order]) for result in usual]
            require_law(close(expected, shuffled, trial.dtype), rule, f"depends on the order of {n} clients")
            off = max(float((a.trust - b.trust).abs().max()) for a, b in zip(expected, shuffled, strict=True))
            require_law(off < 1e-4, rule, f"trusts other clients when the {n} clients come in another order")
    if card.unanimous:
        alike = trial.play(rule, examined, change=_first_row)
        wanted = [replace(a, update=u[0]) for a, u in zip(alike, trial.updates, strict=True)]
        require_law(close(wanted, alike, trial.dtype), rule, "makes something else of equal updates")
    if card.translation_equivariant:
        shift = trial.model
        moved = trial.play(rule, examined, change=lambda rows: rows + shift)
        wanted = [replace(result, update=result.update + shift) for result in usual]
        require_law(close(wanted, moved, trial.dtype), rule, "does not move along with its updates")
    if card.scale_equivariant:
        for factor in (3.0, 0.125):
            scaled = trial.play(rule, examined, change=partial(torch.mul, other=factor))
            wanted = [replace(result, update=factor * result.update) for result in usual]
            require_law(
                close(wanted, scaled, trial.dtype), rule, f"does not scale along with its updates by {factor}"
            )
    check_columns(rule, trial)
    trusting = _without_byzantine(rule) if card.mean_without_byzantine else None
    if trusting is not None:
        plain = trial.play(trusting, examined, weighted=False)
        wanted = [replace(a, update=u.mean(dim=0)) for a, u in zip(plain, trial.updates, strict=True)]
        require_law(close(wanted, plain, trial.dtype), rule, "is not the mean without malicious clients")


def check_needs(rule: Rule, trial: Trial) -> None:
    """Check that what the card does not need is not used."""
    needs, updates = rule.card.needs, trial.updates[0]
    context = trial.context()
    usual = examined(rule, updates, trial.weights, context)
    if "randomness" not in needs:
        untouched = torch.Generator().manual_seed(1).get_state()
        generator = context.generator
        drawn = generator is not None and not torch.equal(generator.get_state(), untouched)
        require_law(not drawn, rule, "draws random numbers, though its card does not need randomness")
    if "root data" not in needs:
        other = examined(rule, updates, trial.weights, replace(trial.context(), root_update=None))
        require_law(same([usual], [other]), rule, "uses root data that its card does not need")
    if "model" not in needs:
        modelless = replace(trial.context(), model=-3 * trial.model, predict=None)
        other = examined(rule, updates, trial.weights, modelless)
        require_law(same([usual], [other]), rule, "uses a model that its card does not need")
    if "history" not in needs:
        require_law(not usual.state, rule, "keeps a state, though its card does not need history")


def check_history(rule: Rule, trial: Trial) -> None:
    """Check that the state is taken back while the nodes that take part change."""
    n = trial.n
    later = [*range(n // 2, n), *range(50, 50 + n // 2)]
    casts = [[*range(n)], later, later[::-1], later[: max(n - 2, rule.minimum)], [*range(n)]]
    state: Mapping[str, Tensor] = {}
    for server_round, nodes in enumerate(casts, start=1):
        updates = trial.updates[server_round % len(trial.updates)][: len(nodes)]
        context = trial.context(server_round, nodes=nodes, state=state)
        state = copied(examined(rule, updates, trial.weights[: len(nodes)], context).state)


def _without_byzantine(rule: Rule) -> Rule | None:
    """Return the rule tolerating nobody, or None where other knobs than `byzantine` are set."""
    knobs = {field.name for field in fields(cast("Any", rule))}
    trusting = cast("Rule", replace(cast("Any", rule), byzantine=0)) if "byzantine" in knobs else rule
    return trusting if trusting == type(rule)() else None


def _refuses(
    rule: Rule, updates: Tensor, weights: Tensor | None, context: Context, *, error: Refusal, what: str
) -> None:
    try:
        rule(updates, weights, context)
    except error:
        return
    raise ContractError(f"{rule!r} takes {what}, wanted {error.__name__}.")


def _first_row(rows: Tensor) -> Tensor:
    return rows[:1].expand_as(rows) if rows.ndim > 1 else rows
