"""How long a backdoor lasts once the attackers are honest again."""

import numpy as np
import pytest

from fedpoison.scenario import Scenario
from fedpoison.simulation import simulate

STOP = 8


def success_afterwards(attack):
    """Return an attack's mean success in the rounds after it has stopped, by seed."""
    scenario = Scenario(
        dataset="digits",
        train_samples=600,
        test_samples=200,
        clients=10,
        rounds=STOP + 4,
        model="mlp",
        batch_size=16,
        lr=0.05,
        malicious=0.2,
        attack=f"{attack}+scaled-update(factor=3)",
        schedule=f"window(start=5, stop={STOP})",
    )
    histories = [simulate(scenario.but(seed=seed)) for seed in (0, 1)]
    assert all(history.records[STOP].success > 0.3 for history in histories)
    return np.array([[record.success for record in history.records[STOP + 1 :]] for history in histories])


@pytest.fixture(scope="module")
def plain():
    return success_afterwards("backdoor")


@pytest.mark.parametrize("attack", ["anticipate", "anticipate(every=1)"])
def test_a_backdoor_that_looks_ahead_lasts_longer(plain, attack):
    durable = success_afterwards(attack)
    assert (durable.mean(axis=1) > plain.mean(axis=1)).all()
    assert durable.mean() > plain.mean() + 0.05
