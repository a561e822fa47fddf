"""Cost of attacks: `python -m experiments.benchmarks.attacks` prints two Markdown tables.

Attacks that craft updates, in a round of 20 % malicious clients: the median time, and its multiple of
reading the matrix of all updates once (its row norms with all threads, measured between the runs). Those that
know the server's rule are timed against each of --rules, with their multiple of one call of it.

Attacks that edit data or training: the median time of a client's round, and its multiple of an honest one's.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clients.attacks.base import Attack, ClientContext, CraftContext, NoAttack, RuleKind, crafts_updates
from clients.attacks.composite import craft_updates, poisons_data, replaces_training
from clients.training.batch import Job, train_clients
from clients.training.local_training import LocalTraining
from clients.training.parameters import layout_of
from clients.training.samples import Samples
from clients.training.trainer import Trainer
from experiments.benchmarks.aggregation import SHARE, TimedFunction, most_tolerant, parse_size, rule_context
from fedpoison.errors import ScenarioError
from fedpoison.federation.adversary import rule_kind
from fedpoison.federation.rule_runner import TriedRule
from fedpoison.models import build
from fedpoison.scenario.registries import attacks, build_attack, models
from fedpoison.scenario.specs import split_outside

CLASSES = 10
SHAPE = (1, 28, 28)


def main() -> None:
    """Print the tables."""
    options = _options()
    torch.set_num_threads(options.threads)
    print(f"{options.threads} threads, median of {options.repeats}\n\nn = {options.n}, d = {options.d:,}\n")
    print("| attack | rule | ms | x read | x rule |\n|---|---|---|---|---|", flush=True)
    bench = Crafting.drawn(options.n, options.d, options.repeats)
    for spec in options.attacks:
        for rule in options.rules if build_attack(spec).card.knows_rule else ["-"]:
            if crafts_updates(build_attack(spec)) and not build_attack(spec).card.trains:
                print(
                    f"| {spec} | {rule.replace('|', '/')} | {' | '.join(bench.cells(spec, rule))} |",
                    flush=True,
                )
    print(
        f"\n{options.model}, {options.samples} samples\n\n| attack | ms | x honest |\n|---|---|---|",
        flush=True,
    )
    for spec in options.attacks:
        attack = build_attack(spec)
        if replaces_training(attack) or poisons_data(attack):
            cells = training(attack, options.model, options.samples, options.repeats)
            print(f"| {spec} | {' | '.join(cells)} |", flush=True)


@dataclass(frozen=True, eq=False)
class Crafting:
    """Synthetic round for attacks that craft updates."""

    updates: Tensor
    """(n, d), malicious clients first."""
    model: Tensor
    """(d,)."""
    repeats: int

    @classmethod
    def drawn(cls, n: int, d: int, repeats: int) -> Crafting:
        """Return a round whose updates have a common direction."""
        generator = torch.Generator().manual_seed(n)
        return cls(1 + torch.randn(n, d, generator=generator), torch.randn(d, generator=generator), repeats)

    def cells(self, spec: str, rule: str) -> list[str]:
        """Return milliseconds, multiples of a read, and of a call of the rule if one is named."""
        attack, m = build_attack(spec), round(SHARE * len(self.updates))
        tried, byzantine, kind = self.rule(rule)
        own, honest = self.updates[:m], self.updates[m:]

        def craft() -> Tensor:
            build_context = self.contexts(m, tried, byzantine, kind)
            return craft_updates(attack, own, honest, build_context, client_ids=tuple(range(m)))

        contestants = {
            "read": TimedFunction(lambda: torch.linalg.vector_norm(self.updates, dim=1)),
            "attack": TimedFunction(craft),
        }
        if tried is not None:
            contestants["rule"] = TimedFunction(lambda: tried(self.updates))
        for _ in range(self.repeats + 1):
            for contestant in contestants.values():
                contestant.run_once()
        took = contestants["attack"].median
        shares = [
            f"{took / contestants[name].median:.1f}" for name in ("read", "rule") if name in contestants
        ]
        return [f"{1e3 * took:.1f}", *shares, *([] if tried else [""])]

    def rule(self, spec: str) -> tuple[TriedRule | None, int | None, RuleKind]:
        if spec == "-":
            return None, None, None
        rule, byzantine = most_tolerant(spec, len(self.updates))
        if rule is None:
            raise ScenarioError(f"--rules: {spec} is not defined for {len(self.updates)} updates.")
        context = rule_context(self.updates)
        return lambda updates: rule(updates, None, context()), byzantine, rule_kind(rule.card)

    def contexts(
        self, m: int, rule: TriedRule | None, byzantine: int | None, kind: RuleKind
    ) -> Callable[[Attack, int | None], CraftContext]:
        n = len(self.updates)

        def build_context(_attack: Attack, client_id: int | None) -> CraftContext:
            return CraftContext(
                generator=torch.Generator().manual_seed(client_id or 0),
                round=2,
                client_ids=tuple(range(m)) if client_id is None else (client_id,),
                seen_client_ids=tuple(range(m, n)),
                clients=n,
                malicious=m,
                model=self.model,
                previous_model=0.9 * self.model,
                initial_model=torch.zeros_like(self.model),
                layout=(("weight", self.model.shape),),
                rule=None if rule is None else lambda updates: rule(updates).update,
                trust=None if rule is None else lambda updates: rule(updates).trust,
                rule_kind=kind,
                tolerated=byzantine,
            )

        return build_context


def training(attack: Attack, model: str, count: int, repeats: int) -> list[str]:
    """Return milliseconds of a client's round under attack, and multiples of an honest client's."""
    trainer = Trainer(build(models[model], SHAPE, CLASSES, torch.Generator().manual_seed(0)), LocalTraining())
    samples, start = _samples(count), trainer.weights()

    def client(acts: Attack) -> Callable[[], object]:
        def round_of_one() -> object:
            context = ClientContext(
                generator=torch.Generator().manual_seed(1),
                poison_generator=torch.Generator().manual_seed(2),
                round=2,
                model=start,
                previous_model=0.9 * start,
                layout=layout_of(trainer.model),
            )
            return list(train_clients(trainer, [Job(samples, acts, context)]))

        return round_of_one

    honest, hostile = TimedFunction(client(NoAttack())), TimedFunction(client(attack))
    for _ in range(repeats + 1):
        honest.run_once()
        hostile.run_once()
    return [f"{1e3 * hostile.median:.1f}", f"{hostile.median / honest.median:.1f}"]


def _samples(count: int) -> Samples:
    images = torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(3))
    empty = Samples(images, torch.arange(count) % CLASSES, CLASSES, mean=(0.13,), std=(0.31,))
    return empty.with_pixels(images)


def default_attacks() -> Iterator[str]:
    """Yield every attack except `none`."""
    return (name for name, kind in attacks.entries().items() if name != "none" and not kind.card.on_tokens)


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--attacks", help="specs, separated by commas; default: all")
    parser.add_argument("--rules", default="trimmed-mean,krum", help="rules for attacks that know the rule")
    parser.add_argument("--n", type=int, default=100, help="clients")
    parser.add_argument("--d", type=parse_size, default="1.66m", help="parameters, such as 29k or 1.66m")
    parser.add_argument("--model", default="cnn", help="model for attacks on data and training")
    parser.add_argument("--samples", type=int, default=600, help="samples per client")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args(arguments)
    options.attacks = split_outside(options.attacks, ",") if options.attacks else list(default_attacks())
    options.rules = split_outside(options.rules, ",")
    return options


if __name__ == "__main__":
    main()
