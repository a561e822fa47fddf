"""The factor by which an attacker's update is boosted so that the average becomes its model."""

from __future__ import annotations

from clients.attack import CraftContext


def replacing_factor(context: CraftContext) -> float:
    """Return n / f: with it, the mean over n clients moves by the mean of the f malicious updates.

    Bagdasaryan et al., AISTATS 2020, have one attacker, and n / eta under a server's learning rate eta.
    """
    return context.clients / context.malicious
