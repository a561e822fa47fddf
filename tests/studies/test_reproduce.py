"""Published studies: what is run for them, what is read off, and the verdict."""

import json

import pandas as pd
import pytest
import torch
from torch.nn.functional import cross_entropy

from clients.attacks.base import CraftContext
from clients.training.local_training import batches
from clients.training.parameters import flatten, split
from fedpoison.cli.reproduce import NAMES
from fedpoison.engines.local import LocalGrid
from fedpoison.errors import ScenarioError
from fedpoison.federation.federation import Federation
from fedpoison.federation.server import run_server
from fedpoison.federation.workers import Workers
from fedpoison.rng import generator_for
from fedpoison.scenario.registries import build_attack
from fedpoison.scenario.scenario import Scenario
from fedpoison.studies.reproduce import STUDIES, CellResult, PublishedValue, reproduce
from fedpoison.studies.reproduce.byzfl import BYZFL
from fedpoison.studies.reproduce.publication import after, best, mean_of_last

SMALL = {
    "dataset": "digits", "train_samples": 700, "test_samples": 100, "rounds": 2,
    "evaluate_every": 1,
}  # fmt: skip


def test_the_command_names_every_study():
    assert set(NAMES) == set(STUDIES)


@pytest.mark.parametrize(
    ("name", "cells"), [("bucketing", 52), ("byzfl-heatmap", 32), ("byzfl-quickstart", 10)]
)
def test_a_study_has_its_cells_each_under_its_own_name(name, cells):
    study = STUDIES[name]
    assert study.name == name
    assert len({cell.name for cell in study.cells}) == len(study.cells) == cells
    assert all(0 < cell.published < 1 for cell in study.cells)


def test_cells_of_one_run_share_it():
    runs = {made.run_id for cell in STUDIES["byzfl-quickstart"].cells for made in cell.scenarios}
    assert len(runs) == 1


def test_readings():
    accuracy = pd.DataFrame({0: [0.1, 0.5, 0.7, 0.3], 1: [0.1, 0.7, 0.9, 0.5]}, index=[0, 10, 20, 30])
    spread = 0.1 * 2**0.5  # of a sample of two
    assert mean_of_last(2)(accuracy) == pytest.approx((0.6, spread))
    assert best(accuracy) == pytest.approx((0.8, spread))
    assert after(10)(accuracy) == pytest.approx((0.6, spread))
    assert after(19)(accuracy) == after(10)(accuracy)


@pytest.mark.parametrize(
    ("ours", "deviation", "matches"),
    [(0.905, None, True), (0.92, None, False), (0.92, 0.01, True), (0.871, 0.01, True), (0.86, 0.01, False)],
)
def test_the_verdict_allows_two_deviations_and_a_point(ours, deviation, matches):
    cell = PublishedValue("c", [], best, published=0.9, deviation=deviation)
    assert CellResult(cell, ours, None).matches == matches
    assert CellResult(cell, None, None, "stopped").matches is False


@pytest.mark.parametrize(
    ("name", "cell", "sign"),
    [("bucketing", "sorted/s0/median/alie", -1), ("byzfl-heatmap", "trimmed-mean/gamma0/f4", 1)],
)
def test_little_is_enough_on_the_side_of_the_published_runs(name, cell, sign):
    """They aggregate gradients: mean - z std there, mean + tau std in ByzFL; a step is -lr times these."""
    (picked,) = STUDIES[name].pick([cell])
    gradients = torch.randn(20, 50, generator=torch.Generator().manual_seed(0))
    alie = build_attack(picked.scenarios[-1].attack)
    context = CraftContext(
        generator=torch.Generator(),
        clients=25,
        malicious=5,
        model=torch.zeros(50),
        rule=lambda updates: updates.mean(dim=0),
    )
    sent = alie.craft(torch.zeros(5, 50), -0.01 * gradients, context) / -0.01
    deviations = (sent - gradients.mean(dim=0)) / gradients.std(dim=0)
    assert torch.allclose(deviations, deviations[0, 0], rtol=1e-3)
    assert (sign * deviations > 0.2).all()


def test_every_seed_of_bucketing_drops_values_of_its_own_in_all_steps():
    for cell in STUDIES["bucketing"].cells:
        assert {seed: own["dropout_seed"] for seed, own in cell.by_seed.items()} == {0: 0, 1: 1, 2: 2}
        assert all(made.training.dropout_seed == 0 for made in cell.scenarios)


def test_of_several_attacks_the_worst_counts(tmp_path):
    federation = STUDIES["bucketing"].cells[0].scenarios[0].replace(**SMALL, strategy="fedavg", lr=0.5)
    harmless, harmful = (
        federation.replace(attack="none"),
        federation.replace(attack="scaled-update(factor=-50)"),
    )
    one, other, both = (
        PublishedValue(name, made, after(2), published=0.5)
        for name, made in (("a", [harmless]), ("b", [harmful]), ("c", [harmless, harmful]))
    )
    found = reproduce([one, other, both], [0, 1], out=tmp_path, jobs=1)
    assert found[2].mean == found[1].mean < found[0].mean
    assert len(list(tmp_path.iterdir())) == 4


def test_a_seed_can_differ_from_the_others(tmp_path):
    (cell,) = STUDIES["bucketing"].pick(["sorted/s0/rfa/mimic"])
    small = PublishedValue(
        "c", [cell.scenarios[0].replace(**SMALL)], after(2), published=0.5, by_seed=cell.by_seed
    )
    reproduce([small], [1, 2, 5], out=tmp_path, jobs=1)
    ran = [Scenario.load(path) for path in tmp_path.glob("*/scenario.toml")]
    assert {made.seed: made.attack for made in ran} == {1: "mimic(node=17)", 2: "mimic(node=1)", 5: "mimic"}
    assert {made.malicious_nodes for made in ran} == {(20, 21, 22, 23, 24)}


def test_a_run_that_stops_is_a_cell_without_a_number(tmp_path):
    (cell,) = STUDIES["bucketing"].pick(["sorted/s0/krum/bit-flip"])
    (result,) = reproduce(
        [cell],
        [0],
        out=tmp_path,
        jobs=1,
        changes=SMALL | {"attack": "non-finite-update", "tolerated": 10, "strategy": "krum"},
    )
    assert not result.matches
    assert "needs n > 2f + 2" in result.failure


def test_the_command_prints_the_store_last(fedpoison, tmp_path, monkeypatch):
    study = STUDIES["byzfl-quickstart"]
    cell = study.cells[0]
    monkeypatch.setattr(
        "fedpoison.studies.reproduce.reproduce",
        lambda cells, *_, **__: [CellResult(cell, cell.published, None)],
    )
    command = ["reproduce", study.name, "--cell", cell.name, "--out", tmp_path]
    _, out, _ = fedpoison(*command)
    assert "1 of 1 reproduced" in out
    assert out.endswith(f"runs: {tmp_path}\n")
    _, out, _ = fedpoison(*command, "--json")
    assert json.loads(out)["cells"][0]["ours"] == cell.published


def test_cells_are_picked_by_pattern():
    study = STUDIES["bucketing"]
    assert len(study.pick([])) == 52
    assert {cell.name for cell in study.pick(["sorted/s2/*/ipm", "iid/s0/rfa/mimic"])} == {
        "sorted/s2/krum/ipm", "sorted/s2/median/ipm", "sorted/s2/rfa/ipm", "sorted/s2/cclip/ipm",
        "iid/s0/rfa/mimic",
    }  # fmt: skip
    with pytest.raises(ScenarioError, match="cell 'sorted/krum': bucketing has no such cell"):
        study.pick(["sorted/krum"])


def test_our_steps_are_byzfls(digits):
    """ByzFL: m = 0.9 m + 0.1 g, clipped to norm c and averaged, w = w - 0.1 * mean."""
    c = 0.3
    scenario = Scenario.parse(
        BYZFL
        | {"dataset": "digits", "model": "mlp", "clients": 3, "malicious": 0.0, "rounds": 4}
        | {"weight_decay": 0.0, "strategy": f"clipping(threshold={0.1 * c}) | fedavg"}
    )
    federation = Federation.load(scenario)
    with Workers(federation.model, scenario.training, 1) as workers:
        ours = run_server(federation, LocalGrid(federation, workers), workers, lambda _: None).weights

    model = federation.model()
    momenta = [torch.zeros_like(federation.initial) for _ in range(3)]
    clipped = 0
    for number in range(1, 5):
        sent = []
        for client_id in range(3):
            samples = federation.train[federation.parts[client_id]]
            draws = generator_for(scenario.seed, "client", client_id, "round", number)
            (index,) = batches(len(samples), scenario.training, draws)
            loss = cross_entropy(model(samples.images[index]), samples.labels[index])
            gradient = flatten(torch.autograd.grad(loss, list(model.parameters())))
            momenta[client_id] = 0.9 * momenta[client_id] + 0.1 * gradient
            norm = momenta[client_id].norm()
            clipped += bool(norm > c)
            sent.append(momenta[client_id] * min(1.0, c / float(norm)))
        step = 0.1 * torch.stack(sent).mean(dim=0)
        with torch.no_grad():
            for parameter, part in zip(model.parameters(), split(step, federation.layout), strict=True):
                parameter.sub_(part)
    assert 0 < clipped < 12
    torch.testing.assert_close(ours, flatten(model.parameters()), rtol=1e-4, atol=1e-5)


def test_the_command_prints_ours_beside_theirs(fedpoison, tmp_path, monkeypatch):
    (cell,) = STUDIES["bucketing"].pick(["sorted/s0/median/bit-flip"])
    small = PublishedValue(cell.name, [cell.scenarios[0].replace(**SMALL)], cell.reading, 0.0, 0.5)
    study = STUDIES["bucketing"]
    monkeypatch.setitem(
        STUDIES, "bucketing", type(study)("bucketing", study.title, [small], (0, 1), study.remarks)
    )
    code, out, _ = fedpoison("reproduce", "bucketing", "--jobs", 1, "--out", tmp_path)
    assert code == 0
    assert all(
        words in out
        for words in (cell.name, "0.00 ± 50.00", "101.0", "yes", "1 of 1 reproduced, seeds 0, 1", "±")
    )
    code, out, err = fedpoison(
        "reproduce", "bucketing", "--jobs", 1, "--out", tmp_path, "--format", "markdown"
    )
    assert code == 0
    row = next(line for line in out.splitlines() if cell.name in line)
    _, ours, theirs, difference, allowed, verdict = (part.strip() for part in row.strip("|").split("|"))
    assert float(ours.split()[0]) == pytest.approx(float(difference), abs=0.05)
    assert (theirs, allowed, verdict) == ("0.00 ± 50.00", "101.0", "yes")
    assert "1 of 1 reproduced" in err
    code, out, _ = fedpoison("reproduce", "bucketing", "--jobs", 1, "--out", tmp_path, "--json")
    (found,) = json.loads(out)["cells"]
    assert (found["cell"], found["reproduced"], found["failure"]) == (cell.name, True, None)
    assert found["ours"] == pytest.approx(float(ours.split()[0]) / 100, abs=1e-4)
    _, out, _ = fedpoison("reproduce", "bucketing", "--list", "--json")
    listed = {"cell": cell.name, "published": 0.0, "published_deviation": 0.5, "allowed": pytest.approx(1.01)}
    assert json.loads(out)["cells"] == [listed]
    code, out, _ = fedpoison(
        "reproduce", "bucketing", "--rounds", 1, "--seeds", "0,0", "--jobs", 1, "--out", tmp_path
    )
    assert code == 0
    assert "cut short" in out
    assert out.count("±") == 1  # theirs: one seed deviates from nothing
    assert "no verdict" in out


def test_the_command_lists_and_refuses(fedpoison):
    code, out, _ = fedpoison("reproduce", "byzfl-quickstart", "--list")
    assert code == 0
    assert "round1000" in out
    assert "97.33" in out
    assert "clipping(threshold=0.2) | nnm | trimmed-mean" in out
    for arguments, words in (
        (["buketing"], "did you mean 'bucketing'"),
        (["bucketing", "--cell", "x", "--list"], "cell 'x'"),
        (["bucketing", "--cell", "iid/*", "--seeds", "a"], "--seeds: got 'a'"),
    ):
        code, _, err = fedpoison("reproduce", *arguments)
        assert code == 2
        assert words in err
