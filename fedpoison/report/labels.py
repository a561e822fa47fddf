"""Where a run stands among the others: its attack, its strategy, and the setting that both were tried in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedpoison.scenario.attackers import AttackerGroup
from fedpoison.scenario.fields import About, fields_about
from fedpoison.scenario.scenario import Scenario

CLEAN = "none"
_COMPARED, _GROUP = fields_about(Scenario, About.COMPARED), fields_about(Scenario, About.GROUP)


def attack_label(scenario: Scenario) -> str:
    """Return the attack of a scenario with what distinguishes it: schedule, knowledge, groups, and the goal.

    Where nobody attacks, the sizes of the groups are told, as the strategy expects so many.

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
    return group.attack, _schedule(group), group.knowledge


def _schedule(group: AttackerGroup) -> str | None:
    return None if group.schedule == "always" else group.schedule


def is_clean(scenario: Scenario) -> bool:
    """Return whether nobody attacks."""
    return all(group.attack == CLEAN for group in scenario.attackers)


def is_attack_free(label: str) -> bool:
    """Return whether the label is that of a clean scenario, whatever success is measured on it."""
    return _head(label) == CLEAN


def ordered(labels: Iterable[str], first: str) -> list[str]:
    """Return each label once, in alphabetical order but for `first`, which leads, bare or with a goal."""
    return sorted(set(labels), key=lambda label: (_head(label) != first, label))


def _head(label: str) -> str:
    return label.partition(", ")[0]


def setting(scenario: Scenario) -> dict[str, Any]:
    """Return the fields of a scenario that are neither attack nor strategy nor seed."""
    return {name: value for name, value in scenario.content().items() if name not in _COMPARED}


def split_settings(scenarios: Sequence[Scenario]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the fields that all scenarios share, and for each scenario those in which they differ.

    A scenario with several groups of attackers has no fields for a single one; there they are left open.
    """
    contents = [setting(scenario) for scenario in scenarios]
    names = dict.fromkeys(name for content in contents for name in content)
    same = {name for name in names if len({repr(content.get(name)) for content in contents}) == 1}
    common = {name: contents[0][name] for name in names if name in same}
    return common, [
        {name: content.get(name) for name in names if name not in same and _told(name, content)}
        for content in contents
    ]


def _told(name: str, content: Mapping[str, Any]) -> bool:
    return name in content or name not in _GROUP


def format_fields(fields: Mapping[str, Any]) -> str:
    """Return fields in one line.

    >>> format_fields({"lr": 0.1, "malicious_partition": None})
    'lr 0.1, malicious partition unset'
    """
    return ", ".join(
        f"{name.replace('_', ' ')} {'unset' if value is None else value}" for name, value in fields.items()
    )


def clean_run_places(scenarios: Sequence[Scenario]) -> list[int | None]:
    """Return for each scenario the place of its clean twin among them; None where it is not there.

    What success is measured on the twin does not matter here, its accuracy is the same: the first one counts.
    """
    cleaned = [scenario.without_attack(None).run_id for scenario in scenarios]
    places: dict[str, int] = {}
    for place, (run_id, scenario) in enumerate(zip(cleaned, scenarios, strict=True)):
        if is_clean(scenario):
            places.setdefault(run_id, place)
    return [
        None if is_clean(scenario) else places.get(run_id)
        for run_id, scenario in zip(cleaned, scenarios, strict=True)
    ]
