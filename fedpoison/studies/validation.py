"""Validation set of a study that chooses attacks or parameters: its default size."""

from __future__ import annotations

from fedpoison.federation.federation import Federation
from fedpoison.results.provenance import Notify
from fedpoison.scenario.scenario import Scenario

MOST_SAMPLES = 2000
"""Most validation samples by default. The standard error of an accuracy is then at most 1.2 points."""
SHARE = 5
"""At most one of so many training samples is for validation by default."""


def with_validation(federation: Federation, notify: Notify) -> Scenario:
    """Return the scenario of a federation with a validation set.

    A study chooses on the validation set, and reports on the test set with other seeds. A choice on the
    samples that also measure its result would overestimate it.

    Args:
        federation: Federation of a scenario. If it has a validation set, its scenario does not change.
        notify: Receives a warning if the clients get fewer training samples than the scenario asks for.

    Returns:
        The scenario with a fifth of the training samples for validation, and with 2000 at most.
    """
    scenario, size = federation.scenario, len(federation.dataset.train)
    if scenario.validation_samples:
        return scenario
    reserved = max(1, min(MOST_SAMPLES, size // SHARE))
    wanted = scenario.train_samples
    if wanted <= size - reserved:
        return scenario.replace(validation_samples=reserved)
    notify(
        f"train_samples: {wanted} of {size} training samples leave too few for validation, so the clients "
        f"get {size - reserved}; set validation_samples to choose another number."
    )
    return scenario.replace(validation_samples=reserved, train_samples=0)
