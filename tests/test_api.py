"""The functions of `import fedpoison as fp`: keywords, names or objects, texts or paths."""

import pytest

import fedpoison as fp
from fedpoison.attacks import Alie, Backdoor, Composite
from fedpoison.rules import NNM, Adam, Krum, Median, Pipeline

TINY = {
    "dataset": "digits", "model": "mlp", "clients": 8, "rounds": 2, "train_samples": 400, "test_samples": 200,
}  # fmt: skip


def test_fields_and_objects_are_the_scenario(tmp_path):
    run = fp.simulate(attack=Alie(z=1.0), strategy=Krum(byzantine=2), out=str(tmp_path), **TINY)
    same = fp.Scenario.parse({**TINY, "attack": "alie(z=1.0)", "strategy": "krum(byzantine=2)"})
    assert run.scenario == same
    assert run.path == tmp_path / same.run_id
    again = fp.load_run(str(run.path))
    assert again.records == run.records
    assert [each.scenario for each in fp.load_runs(str(tmp_path))] == [same]
    assert fp.simulate(same, seed=3).scenario == same.replace(seed=3)


@pytest.mark.parametrize(
    ("field", "given", "spec"),
    [
        ("strategy", Median(), "median"),
        ("strategy", Krum(), "krum(byzantine=0)"),
        (
            "strategy",
            Pipeline(pre=(NNM(byzantine=3),), rule=Median(), optimizer=Adam(lr=0.5)),
            "nnm(byzantine=3) | median | adam(lr=0.5)",
        ),
        ("attack", Composite(parts=(Backdoor(target=3), Alie())), "backdoor(target=3)+alie"),
    ],
)
def test_an_object_has_the_canonical_spec(field, given, spec):
    assert getattr(fp.Scenario(**{field: given}), field) == spec
    assert fp.Scenario(**{field: given}) == fp.Scenario(**{field: spec})


@pytest.mark.parametrize(
    ("field", "given", "message"),
    [
        ("strategy", Adam(), "expected exactly one rule"),
        ("attack", Krum(), r"attack: got Krum\(.*Krum is not registered"),
        ("attack", Alie, "attack: got the class Alie, expected an object"),
        ("atack", "alie", "did you mean 'attack'"),
    ],
)
def test_a_wrong_object_is_refused(field, given, message):
    with pytest.raises(fp.ScenarioError, match=message):
        fp.simulate(**{field: given})


def test_compare_takes_names_objects_and_fields():
    found = fp.compare(["none", Alie(z=0.5)], "median", seeds=range(2), jobs=1, **TINY)
    assert list(found.attacks) == ["none", "alie(z=0.5)"]
    assert found.strategies == ["median"]
    assert len(found.to_frame()) == 4
    assert all(history.scenario.clients == 8 for history in found.histories.values())
    assert all(history.path is None for history in found.histories.values())


def test_breakdown_of_one_pair_has_one_threshold():
    found = fp.breakdown("scaled-update(factor=-50)", "fedavg", shares=[0.5], jobs=1, **TINY)
    assert found.threshold == 1 / 8


def test_search_takes_a_strategy():
    found = fp.search("fedavg", attacks=["sign-flip"], trials=1, confirm=0, jobs=1, **TINY)
    assert [trial.attack.partition("(")[0] for trial in found.trials] == ["sign-flip"]


def test_sweep_takes_a_study_or_its_path(tmp_path):
    study = tmp_path / "mine.toml"
    base = "".join(f"{name} = {value!r}\n" for name, value in TINY.items())
    study.write_text(f"[base]\n{base}[axes]\nseed = [0, 1]\n")
    found = fp.sweep(str(study), jobs=1)
    assert (found.study.name, found.study.title) == ("mine", "mine")
    assert len(found.histories) == 2
    assert set(fp.sweep(fp.Study.load(str(study)), jobs=1).to_frame()["seed"]) == {0, 1}


def test_a_misspelt_keyword_is_named():
    with pytest.raises(fp.ScenarioError, match="did you mean 'rounds'"):
        fp.compare("none", "fedavg", round=3)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    store = tmp_path_factory.mktemp("runs")
    study = {"name": "s", "base": TINY, "axes": {"lr": [0.1, 0.2], "strategy": ["fedavg", "median"]}}
    drawn = {**study, "figure": {"kind": "lines", "x": "lr", "series": "strategy"}}
    run = fp.simulate(out=store, keep_updates=[1], attack="ipm", **TINY)
    return {
        "History": run,
        "Comparison": fp.compare(["none", "ipm"], ["fedavg", "median"], jobs=1, out=store, **TINY),
        "Breakdown": fp.breakdown("ipm", "fedavg", shares=[0.25], jobs=1, out=store, **TINY),
        "SearchResult": fp.search(attacks=["ipm", "alie"], trials=2, confirm=1, jobs=1, out=store, **TINY),
        "StudyResults": fp.sweep(fp.Study.parse(drawn), jobs=1, out=store),
        "Replay": fp.replay(str(run.path), 1, ["median", "fedavg"]),
        "FinePruning": fp.fine_prune(str(run.path), shares=[0.5], samples=20, epochs=1),
        "Runs": fp.load_runs(store),
    }


KINDS = [
    "History",
    "Comparison",
    "Breakdown",
    "SearchResult",
    "StudyResults",
    "Replay",
    "FinePruning",
    "Runs",
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_is_a_frame_a_figure_a_short_text_and_html(results, kind):
    result = results[kind]
    assert type(result).__name__ == kind
    assert len(result.to_frame()) > 0
    assert result.plot().axes
    text = repr(result)
    assert text.startswith(result.headline)
    assert len(text.splitlines()) <= 14
    assert len(text) < 1500
    assert result._repr_html_().startswith("<p>")
    assert "<table" in result._repr_html_()


def test_stored_runs_are_a_sequence_with_a_row_per_run(results):
    run, runs = results["History"], results["Runs"]
    frame = runs.to_frame()
    assert len(frame) == len(runs) == len({each.scenario for each in runs})
    row = frame.loc[run.scenario.run_id]
    assert (row["attack"], row["strategy"], row["accuracy"]) == ("ipm", "fedavg", run.last.accuracy)
    assert len(runs[:2]) == 2
    panels = [axes for axes in runs.plot().axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == list(frame["attack"].unique())


def test_the_numbers_of_a_short_text_are_those_of_the_run(results):
    run = results["History"]
    assert f"accuracy {run.last.accuracy:.1%}, worst class {run.last.worst_class_accuracy:.1%}" in repr(run)
    assert results["Comparison"].shown_frame().loc["ipm", "fedavg"] == run.last.accuracy
