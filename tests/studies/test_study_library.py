"""Each shipped study, shrunken: its runs, its table, its figure."""

import numpy as np
import pytest

from experiments import central_poisoning
from fedpoison.errors import ScenarioError
from fedpoison.results.store import StoredRun
from fedpoison.studies.axes import AXIS_TITLES
from fedpoison.studies.study import Study, built_in_studies, find_study
from fedpoison.studies.study_figure import draw
from fedpoison.studies.study_runner import plan, sweep

NAMES = sorted(built_in_studies())


def shrunken(study):
    """Return the study on a few digits, with the ends of its axes and one seed."""
    small = study.replace(dataset="digits", train_samples=500, test_samples=100, rounds=1, seed=0)
    small = small.model_copy(update={"pretrain_rounds": min(1, small.pretrain_rounds)})
    ends = {axis: values[:: max(1, len(values) - 1)] for axis, values in small.axes.items()}
    return Study.parse(small.content() | {"axes": ends})


def panels(figure):
    """Return the panels of a figure, without the scales beside heat maps."""
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def drawn(axes, kind):
    """Return the numbers that a panel shows."""
    if kind == "heatmap":
        return np.ma.getdata(axes.images[0].get_array()).ravel()
    if kind == "bars":
        return [bar.get_height() for bar in axes.patches]
    return np.concatenate([line.get_ydata() for line in axes.lines])


def test_they_are_six():
    assert NAMES == [
        "aggregators_x_attacks", "backdoors", "converged_backdoor", "f_misspecified", "heterogeneity",
        "malicious_share",
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_run_of_a_shipped_study_can_be_built(name):
    study = find_study(name)
    cells = study.cells()
    assert study.name == name
    assert len(study.description) > 100
    assert all(cell.scenario is not None for cell in cells)
    assert len(cells) <= 150
    assert {cell.scenario.dataset for cell in cells} == {"mnist"}


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_study_runs_and_is_drawn(name, tmp_path):
    study = shrunken(find_study(name))
    results = sweep(plan(study, out=tmp_path), jobs=1)
    assert not results.failures
    figure, asked = draw(study, results.runs), study.figure
    facets = 1 if asked.facet is None else len(study.axes[asked.facet])
    assert len(panels(figure)) == facets * len(asked.measure)
    shown = np.concatenate([drawn(axes, asked.kind) for axes in panels(figure)])
    result = results.runs["no_result"] == ""
    measured = 100 * results.runs.loc[result, list(asked.measure)].to_numpy().ravel()
    kept = np.sort(measured[~np.isnan(measured)])
    np.testing.assert_allclose(np.sort(shown[~np.isnan(shown)]), kept)
    assert results.summary().shape[0] == len(study.cells())


def test_all_runs_of_a_study_can_start_from_the_model_of_one_clean_run(tmp_path):
    study = shrunken(find_study("converged_backdoor"))
    study = Study.parse(study.content() | {"pretrain_rounds": 4})
    planned = plan(study, out=tmp_path)
    (run,) = [path for path in tmp_path.iterdir() if (path / "model.safetensors").is_file()]
    clean = StoredRun(run).history
    assert (clean.scenario.attack, clean.scenario.rounds) == ("none", 4)
    histories = sweep(planned, jobs=1).histories.values()
    assert {history.records[0].loss for history in histories} == {clean.last.loss}
    (initial,) = {history.scenario.initial for history in histories}
    assert initial.startswith(f"{run.name}@")
    assert not plan(study, out=tmp_path).missing


def test_central_poisoning_runs_and_is_written(tmp_path):
    study = shrunken(central_poisoning.STUDY)
    results = central_poisoning.run_study(study, tmp_path)
    assert len(results.runs) == 4
    assert results.runs["success"].notna().any()
    written = {path.name for path in (tmp_path / "studies" / study.name).iterdir()}
    assert written >= {"figure.png", "figure.svg", "figure.pdf", "runs.parquet", "rounds.csv"}


def test_a_figure_shows_means_ranges_and_gaps(small, tmp_path):
    axes = {"strategy": ["fedavg", "krum"], "malicious": [0.2, 0.4], "seed": [0, 1]}
    short = small.replace(rounds=1).content()
    base = {field: value for field, value in short.items() if field not in axes}
    figure = {"kind": "lines", "x": "malicious", "series": "strategy", "measure": list(AXIS_TITLES)[:2]}
    study = Study.parse({"name": "s", "title": "S", "base": base, "axes": axes, "figure": figure})
    runs = sweep(plan(study, out=tmp_path), jobs=1).runs
    upper = panels(draw(study, runs))[0]
    fedavg, krum = upper.lines
    means = 100 * runs[runs["strategy"] == "fedavg"].groupby("malicious")["accuracy"].mean()
    np.testing.assert_allclose(fedavg.get_ydata(), means)
    # krum needs more clients than there are to stand 0.4, which leaves a gap in its line
    assert np.isnan(krum.get_ydata()).tolist() == [False, True]
    band = upper.collections[0].get_paths()[0].vertices[:, 1]
    spread = 100 * runs[runs["strategy"] == "fedavg"]["accuracy"]
    assert (band.min(), band.max()) == pytest.approx((spread.min(), spread.max()))
    plain = Study.parse(study.content() | {"figure": None})
    with pytest.raises(ScenarioError, match="has no figure"):
        draw(plain, runs)
