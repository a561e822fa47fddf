"""The whole package: torch alone for a round, a name for each random stream, one version in all files."""

import re
import subprocess
import sys
import tomllib

import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from fedpoison.rng import generator_for

ROUND = """
import sys

for name in ("flwr", "ray", "pydantic", "typer", "pandas", "torchvision", "sklearn", "scipy"):
    sys.modules[name] = None

import torch

from clients import ATTACKS
from clients.attacks.base import ClientContext, CraftContext
from clients.training.batch import Job, train_clients
from clients.attacks.base import NoAttack
from clients.training.parameters import flatten
from clients.training.samples import Samples
from clients.training.local_training import LocalTraining
from clients.training.trainer import Trainer
from clients.training.batch import train_clients_stacked
from strategies import STRATEGIES

def stream(seed):
    return torch.Generator().manual_seed(seed)

model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
samples = Samples(torch.rand(40, 1, 4, 4, generator=stream(0)), torch.arange(40) % 3, 3)
trainer = Trainer(model, LocalTraining(batch_size=8))
start = flatten(model.parameters())
for train in (train_clients, train_clients_stacked):
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


def drawn(generator):
    return torch.rand(4, generator=generator).tolist()


@given(seed=st.integers(0, 2**31), client_id=st.integers(0, 1000), number=st.integers(0, 1000))
def test_a_name_always_means_the_same_stream(seed, client_id, number):
    name = ("client", client_id, "round", number)
    assert drawn(generator_for(seed, *name)) == drawn(generator_for(seed, *name))


def test_different_names_are_different_streams():
    names = [(0, "a"), (1, "a"), (0, "b"), (0, "a", 1), (0, "a", "1"), (0, 1, "a")]
    assert len({tuple(drawn(generator_for(*name))) for name in names}) == len(names)


def test_the_global_stream_is_left_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    drawn(generator_for(0, "anything"))
    assert torch.equal(before, torch.random.get_rng_state())


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_all_files_name_the_same_version():
    project = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    assert re.findall(r"^version: (.+)$", read("CITATION.cff"), re.MULTILINE) == [project]
    assert re.findall(r"^## (.+?),", read("CHANGELOG.md"), re.MULTILINE)[0] == project


def test_the_workflow_runs_the_gate_on_the_oldest_python_and_on_the_lowest_versions():
    workflow = read(".github/workflows/test.yml")
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert re.findall(r"- run: (make .+)$", workflow, re.MULTILINE) == [
        "make test",
        "make flower-versions",
        'make test CONSTRAINTS="$RUNNER_TEMP/constraints.txt"',
    ]
    assert f'python: ["{project["requires-python"].removeprefix(">=")}"' in workflow
    lowest = {
        match[1]: match[2]
        for text in project["dependencies"]
        if (match := re.match(r"(flwr|torch|torchvision)(?:\[.*\])?>=([\d.]+)", text))
    }
    assert lowest == dict(re.findall(r"^ +(\w+)==([\d.]+)\.\*$", workflow, re.MULTILINE))
