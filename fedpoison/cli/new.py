"""`fedpoison new`: write a file with a rule or an attack of your own, and its test."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedpoison.errors import ScenarioError, file_errors, unknown

RULE = '''"""A rule for fedpoison: {class_name}."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedpoison.rules import Aggregate, Context, Rule, RuleCard


@dataclass(frozen=True, kw_only=True)
class {class_name}(Rule):
    """Average the updates that are closest to the coordinate-wise median."""

    kept: float = 0.5
    """Share of the updates to average."""

    card: ClassVar = RuleCard(paper="my own")
    """Properties that the test checks: for example, coordinate_wise=True, or unanimous=False."""

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        """Aggregate updates (n, d) of clients with shares (n,), which sum to 1."""
        distances = (updates - updates.quantile(0.5, dim=0)).norm(dim=1)
        chosen = distances.argsort(stable=True)[: max(1, round(self.kept * len(updates)))]
        trust = torch.zeros(len(updates), dtype=torch.float64)
        trust[chosen] = 1 / len(chosen)
        return Aggregate(update=updates[chosen].mean(dim=0), trust=trust)
'''

ATTACK = '''"""An attack for fedpoison: {class_name}."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fedpoison.attacks import Attack, AttackCard, CraftContext, Knowledge, Positive, Range, SearchSpace


@dataclass(frozen=True, kw_only=True)
class {class_name}(Attack):
    """Send the mean of the malicious clients' honest updates, reversed and enlarged."""

    factor: Positive = 3.0
    """Factor of the reversed mean."""

    card: ClassVar = AttackCard(paper="my own", knowledge=Knowledge.COLLUDING)
    """Knowledge.OWN: `own` has one row. Knowledge.OMNISCIENT: `seen` has the honest updates (h, d)."""

    search_space: ClassVar = SearchSpace(parameters={{"factor": Range(low=0.1, high=30, log=True)}})
    """Values that `fedpoison search` tries."""

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        """Return the updates to send (m, d), given the malicious clients' honest updates (m, d)."""
        return (-self.factor * own.mean(dim=0)).expand_as(own).clone()
'''

TEST = '''"""The properties that fedpoison tests on every {kind}."""

from {module} import {class_name}

from fedpoison import check_{kind}


def test_{module}_has_the_properties_of_its_card():
    check_{kind}({class_name}())
'''

TEMPLATES = {"rule": RULE, "attack": ATTACK}
OPTIONS = {"rule": "--attack alie --strategy", "attack": "--strategy median --attack"}


def new_command(
    kind: Annotated[str, typer.Argument(help="rule or attack.")],
    name: Annotated[str, typer.Argument(help="Name, such as my-rule.")],
    folder: Annotated[Path, typer.Option("--folder", help="Folder for the two files.")] = Path(),
) -> None:
    """Write a file with a rule or an attack of your own, and its test.

    Both work as they are. Change the code, run the test, and name the class in any command:
    my_rule.py:MyRule.
    """
    if kind not in TEMPLATES:
        raise unknown("kind", kind, TEMPLATES)
    module = name.strip().lower().replace("-", "_").replace(" ", "_")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", module) or keyword.iskeyword(module):
        raise ScenarioError(f"name: got {name!r}, expected letters, digits and hyphens, such as my-{kind}.")
    class_name = "".join(part.capitalize() for part in module.split("_"))
    code, test = folder / f"{module}.py", folder / f"test_{module}.py"
    for path in (code, test):
        if path.exists():
            raise ScenarioError(f"{path}: exists; choose another name, or delete the file.")
    with file_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        code.write_text(TEMPLATES[kind].format(class_name=class_name), encoding="utf-8")
        test.write_text(TEST.format(kind=kind, module=module, class_name=class_name), encoding="utf-8")
    console = Console(emoji=False, soft_wrap=True, highlight=False, markup=False)
    console.print(f"test it: python -m pytest {test}")
    console.print(f"run it: fedpoison run {OPTIONS[kind]} {code}:{class_name}")
    console.print(f"files: {code}, {test}")
