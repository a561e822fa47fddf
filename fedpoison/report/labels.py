"""Labels of a run: its attack, and the fields in which its setting differs from other runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedpoison.scenario.fields import About, fields_about
from fedpoison.scenario.scenario import Scenario

CLEAN = "none"
_COMPARED, _GROUP = fields_about(Scenario, About.COMPARED), fields_about(Scenario, About.GROUP)


def attack_label(scenario: Scenario) -> str:
    """Return the attack of a scenario with its schedule, knowledge, groups and goal.

    The label of a clean run has the sizes of its groups, since these set the number of malicious clients that
    the strategy expects.

    >>> attack_label(Scenario(attack="backdoor", schedule="once(round=3)"))
    'backdoor, once(round=3)'
    >>> attack_label(Scenario(goal="backdoor"))
    'none, goal backdoor'
    """
    goal = None if scenario.goal is None else f"goal {scenario.goal}"
    return ", ".join(part for part in (*_attackers(scenario), goal) if part)


def _attackers(scenario: Scenario) -> Sequence[str | None]:
    if is_clean(scenario):
        return [CLEAN, "; ".join(group.settings_spec() for group in scenario.groups)]
    if scenario.groups:
        return ["; ".join(group.to_spec() for group in scenario.groups)]
    (group,) = scenario.attackers
    return group.attack, None if group.schedule == "always" else group.schedule, group.knowledge


def is_clean(scenario: Scenario) -> bool:
    """Return whether no client attacks."""
    return all(group.attack == CLEAN for group in scenario.attackers)


def is_attack_free(label: str) -> bool:
    """Return whether a label belongs to a clean run, with or without a goal."""
    return label.partition(", ")[0] == CLEAN


def ordered(labels: Iterable[str], first: str) -> list[str]:
    """Return each label once, in alphabetical order after `first`, with or without a goal."""
    return sorted(set(labels), key=lambda label: (label.partition(", ")[0] != first, label))


def split_settings(scenarios: Sequence[Scenario]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the fields that all scenarios share, and per scenario the fields in which they differ.

    Attack, strategy and seed do not count. A scenario with several groups of attackers has no fields of a
    single group; its result omits them.
    """
    contents = [
        {name: value for name, value in scenario.content().items() if name not in _COMPARED}
        for scenario in scenarios
    ]
    names = dict.fromkeys(name for content in contents for name in content)
    same = {name for name in names if len({repr(content.get(name)) for content in contents}) == 1}
    common = {name: contents[0][name] for name in names if name in same}
    return common, [
        {
            name: content.get(name)
            for name in names
            if name not in same and (name in content or name not in _GROUP)
        }
        for content in contents
    ]


def format_fields(fields: Mapping[str, Any]) -> str:
    """Return fields in one line.

    >>> format_fields({"lr": 0.1, "malicious_partition": None})
    'lr 0.1, malicious partition unset'
    """
    return ", ".join(
        f"{name.replace('_', ' ')} {'unset' if value is None else value}" for name, value in fields.items()
    )


def clean_run_places(scenarios: Sequence[Scenario]) -> list[int | None]:
    """Return per scenario the place of its clean run among them; None for clean runs and without one.

    The goal of the clean run does not change its accuracy, so the first match counts.
    """
    cleaned = [scenario.without_attack(None).run_id for scenario in scenarios]
    clean = [is_clean(scenario) for scenario in scenarios]
    places = {run_id: place for place, run_id in reversed(list(enumerate(cleaned))) if clean[place]}
    return [None if clean[place] else places.get(run_id) for place, run_id in enumerate(cleaned)]
