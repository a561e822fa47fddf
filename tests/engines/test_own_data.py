"""Own data, and the model of a file, reach the processes of every engine, and give the same bits there."""

import numpy as np
import pandas as pd
import pytest
import torch

import fedpoison as fp
from fedpoison.results.store import StoredRun

LABELS = np.arange(120) % 3
FEATURES = np.eye(3)[LABELS] + np.random.default_rng(0).normal(scale=0.3, size=(120, 3))
MODEL = """
from torch import nn


def make_net(shape, classes, *, width: int = 8):
    return nn.Sequential(nn.Flatten(), nn.Linear(3, width), nn.ReLU(), nn.Linear(width, classes))
"""
RUN = {"clients": 4, "rounds": 2, "model": "mlp-small", "attack": "label-flip", "malicious": 0.25}


@pytest.fixture
def local(tmp_path):
    history = fp.simulate(dataset=(FEATURES, LABELS), out=tmp_path / "local", **RUN)
    return StoredRun(history.path).weights()


def same(weights, path):
    other = StoredRun(path).weights()
    return weights.keys() == other.keys() and all(torch.equal(weights[name], other[name]) for name in weights)


@pytest.mark.ray
def test_arrays_reach_ray_actors(tmp_path, shared_ray, local):
    history = fp.simulate(dataset=(FEATURES, LABELS), engine="ray", workers=1, out=tmp_path / "ray", **RUN)
    assert same(local, history.path)


@pytest.mark.ray
def test_own_data_reaches_parallel_runs_with_its_clients(tmp_path, shared_ray):
    frame = pd.DataFrame(FEATURES, columns=list("abc")).assign(
        kind=np.array(["ash", "elm", "oak"])[LABELS], owner=np.arange(120) % 5
    )
    frame.to_csv(tmp_path / "trees.csv", index=False)
    settings = RUN | {"dataset": f"csv(path={tmp_path / 'trees.csv'}, label=kind, client=owner)"}
    del settings["attack"]
    found = [
        fp.compare(
            ["none", "ipm"], ["median"], partition="natural", jobs=jobs, out=tmp_path / str(jobs), **settings
        )
        for jobs in (1, 2)
    ]
    one, two = (comparison.table("accuracy") for comparison in found)
    pd.testing.assert_frame_equal(one, two)


@pytest.mark.flower
def test_arrays_and_the_model_of_a_file_reach_the_processes_of_flower(tmp_path):
    (tmp_path / "my_nets.py").write_text(MODEL)
    run = RUN | {"model": f"{tmp_path / 'my_nets.py'}:make_net(width=5)", "dataset": (FEATURES, LABELS)}
    expected = fp.simulate(out=tmp_path / "local", **run)
    history = fp.simulate(engine="flower", out=tmp_path / "flower", **run)
    assert same(StoredRun(expected.path).weights(), history.path)
    assert history.path.name == history.scenario.run_id
