"""Cost of aggregation: `python -m experiments.benchmarks.aggregation [--peers]` prints a Markdown table.

For every number of clients n, of parameters d and every rule: the median time, and its multiple of reading
the matrix once (the row norms of the same float32 matrix with all threads, measured between the runs). With
--peers, the same rules of ByzFL and Flower run in turn with ours, with how many times ours goes into the
quicker of them. Nothing is started that would not fit into the free memory.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from experiments.benchmarks.peers import Peer, available_memory, peers
from fedpoison.errors import ScenarioError
from fedpoison.scenario.aggregation import FlowerStrategy, build_aggregation
from fedpoison.scenario.registries import optimizers, preaggregators, strategies
from fedpoison.scenario.specs import split_outside
from strategies.base import AggregationRule, Context, InputError, PreconditionError, require

CASES = [(n, d) for n in (20, 100) for d in (29_000, 431_000, 1_660_000)] + [(1000, 29_000)]
SHARE = 0.2
"""Share of malicious clients that the rules tolerate, if their preconditions allow it."""
COMBINATIONS = 10_000
"""Largest number of subsets of a rule; rules with more subsets are skipped."""
SLOW = 5.0
"""Duration in seconds above which one run is enough."""
COPIES = 4
"""Additional copies of the matrix that must fit into memory."""


@dataclass
class TimedFunction:
    """One aggregation, and the durations of its runs."""

    run: Callable[[], object]
    seconds: list[float] = field(default_factory=list)

    def run_once(self) -> None:
        """Run once more, unless it is so slow that one run is enough."""
        if self.seconds and min(self.seconds) > SLOW:
            return
        start = time.perf_counter()
        self.run()
        self.seconds.append(time.perf_counter() - start)

    @property
    def median(self) -> float:
        """The median of the runs; the first, which warms up, counts only if it is the only one."""
        return statistics.median(self.seconds[1:] or self.seconds)


def main() -> None:
    """Print the table."""
    options = _options()
    torch.set_num_threads(options.threads)
    print(f"{options.threads} threads, median of {options.repeats}, f = {SHARE:.0%} of n where allowed\n")
    columns = ["n", "d", "rule", "ms", "x read"] + ["ByzFL ms", "Flower ms", "quicker / ours"] * options.peers
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    for n, d in options.cases:
        if available_memory() < 4 * COPIES * n * d:
            print(f"| {n} | {d:,} | all | out of memory |", flush=True)
            continue
        updates = torch.randn(n, d, generator=torch.Generator().manual_seed(n))
        for spec in options.rules:
            cells = measured(spec, updates, repeats=options.repeats, with_peers=options.peers)
            print(f"| {n} | {d:,} | {' | '.join([spec.replace('|', '/'), *cells])} |", flush=True)


def measured(spec: str, updates: Tensor, *, repeats: int, with_peers: bool) -> list[str]:
    """Return the cells of one row, or the reason for not measuring them."""
    n = len(updates)
    rule, byzantine = most_tolerant(spec, n)
    if rule is None:
        return [f"skipped: not defined for {n} updates"]
    if "^f" in rule.card.cost or ("C(n, f)" in rule.card.cost and math.comb(n, byzantine) > COMBINATIONS):
        return [f"skipped: {rule.card.cost}"]
    context = rule_context(updates)
    ours = TimedFunction(lambda: rule(updates, None, context()))
    read = TimedFunction(lambda: torch.linalg.vector_norm(updates, dim=1))
    others = [peer for peer in peers(spec, updates, byzantine) if with_peers]
    theirs = {peer.library: TimedFunction(peer.run) for peer in others if peer.fits()}
    try:
        for _ in range(repeats + 1):
            for contestant in (read, ours, *theirs.values()):
                contestant.run_once()
    except (InputError, PreconditionError) as error:
        return [f"skipped: {error}"]
    cells = [f"{1e3 * ours.median:.1f}", f"{ours.median / read.median:.1f}"]
    if with_peers:
        cells += [_cell(library, others, theirs) for library in ("ByzFL", "Flower")]
        best = min((contestant.median for contestant in theirs.values()), default=None)
        cells.append("" if best is None else f"{best / ours.median:.1f}")
    return cells


def most_tolerant(spec: str, n: int) -> tuple[AggregationRule | None, int]:
    """Return the rule that tolerates as many of n clients as it can, up to SHARE of them, and how many."""
    for byzantine in range(int(SHARE * n), -1, -1):
        rule = build_aggregation(spec, byzantine=byzantine)
        if isinstance(rule, FlowerStrategy):
            raise ScenarioError(f"{spec}: Flower's strategies are timed with --peers, not by name.")
        try:
            require(rule, n)
        except PreconditionError:
            continue
        return rule, byzantine
    return None, 0


def rule_context(updates: Tensor) -> Callable[[], Context]:
    """Return a function that creates the context of a rule in its first round."""
    n, d = updates.shape
    model, root = torch.zeros(d), updates.mean(dim=0)

    def context() -> Context:
        return Context(
            client_ids=tuple(range(n)),
            model=model,
            layout=(("weight", torch.Size([10, d // 10 - 1])), ("bias", torch.Size([10 + d % 10]))),
            generator=torch.Generator().manual_seed(0),
            root_update=root.clone,
        )

    return context


def default_rules() -> Iterator[str]:
    """Yield every rule alone, and every pre-aggregator and optimizer with a cheap rule."""
    yield from strategies.entries()
    for name in preaggregators.entries():
        yield f"{name} | fedavg"
    yield from ("nnm | median", "nnm | krum")
    for name in optimizers.entries():
        yield f"fedavg | {name}"


def _cell(library: str, others: Sequence[Peer], theirs: dict[str, TimedFunction]) -> str:
    if library in theirs:
        return f"{1e3 * theirs[library].median:.1f}"
    return "out of memory" if any(peer.library == library for peer in others) else ""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rules", help="specs, separated by commas; default: all")
    parser.add_argument("--n", help="numbers of clients, such as 20,100")
    parser.add_argument("--d", help="numbers of parameters, such as 29k,1.66m")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--peers", action="store_true", help="run ByzFL and Flower as well")
    options = parser.parse_args()
    options.rules = split_outside(options.rules, ",") if options.rules else list(default_rules())
    options.cases = CASES
    if options.n or options.d:
        counts = [parse_size(text) for text in (options.n or "20,100").split(",")]
        sizes = [parse_size(text) for text in (options.d or "29k,431k,1.66m").split(",")]
        options.cases = [(n, d) for n in counts for d in sizes]
    return options


def parse_size(text: str) -> int:
    """Return the number that `text` stands for.

    >>> [parse_size(text) for text in ("100", "29k", "1.66M")]
    [100, 29000, 1660000]
    """
    factor = {"k": 1_000, "m": 1_000_000}.get(text.strip()[-1:].lower(), 1)
    return round(float(text.strip().rstrip("kKmM")) * factor)


if __name__ == "__main__":
    main()
