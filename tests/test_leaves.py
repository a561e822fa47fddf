"""The leaves work with torch alone: no Flower, Ray or pydantic is needed to train, attack and aggregate."""

import subprocess
import sys

ROUND = """
import sys

for name in ("flwr", "ray", "pydantic", "typer", "pandas", "torchvision", "sklearn", "scipy"):
    sys.modules[name] = None

import torch

from clients import ATTACKS
from clients.attack import ClientContext, CraftContext
from clients.cohort import Job, train_cohort
from clients.attack import NoAttack
from clients.parameters import flatten
from clients.samples import Samples
from clients.training import LocalTraining, Trainer
from clients.vectorised import train_cohort_vectorised
from strategies import STRATEGIES

def stream(seed):
    return torch.Generator().manual_seed(seed)

model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
samples = Samples(torch.rand(40, 1, 4, 4, generator=stream(0)), torch.arange(40) % 3, 3)
trainer = Trainer(model, LocalTraining(batch_size=8))
start = flatten(model.parameters())
for train in (train_cohort, train_cohort_vectorised):
    jobs = [
        Job(samples, NoAttack(), ClientContext(generator=stream(n), poison_generator=stream(n), model=start))
        for n in range(5)
    ]
    updates = torch.stack([trained.weights for trained in train(trainer, jobs)]) - start
    context = CraftContext(generator=stream(9), clients=5, malicious=2, model=start)
    updates[:2] = ATTACKS["alie"]().craft(updates[:2], updates[2:], context)
    result = STRATEGIES["trimmed-mean"](byzantine=2)(updates)
    assert torch.isfinite(result.update).all()
print("trained, attacked and aggregated")
"""


def test_a_round_needs_torch_alone():
    done = subprocess.run([sys.executable, "-c", ROUND], capture_output=True, text=True, check=False)
    assert done.stdout == "trained, attacked and aggregated\n", done.stderr
