"""Names of classes are in tables, figures and the report, and in the store."""

import json

import numpy as np
import pytest
from matplotlib.text import Text

import fedpoison as fp
from fedpoison.results.store import StoredRun
from fedpoison.simulation.replay import replay

NAMES = ["ash", "elm", "oak"]
LABELS = np.arange(90) % 3
DATA = (np.eye(3)[LABELS] + np.random.default_rng(0).normal(scale=0.4, size=(90, 3)), np.array(NAMES)[LABELS])
EXPECTED = ["0 ash", "1 elm", "2 oak"]
SETTINGS = {"clients": 5, "rounds": 1, "model": "mlp-small", "lr": 0.5}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    out = tmp_path_factory.mktemp("named")
    return out, fp.compare(
        ["none", "label-flip"], ["fedavg", "median"], dataset=DATA, jobs=1, out=out, **SETTINGS
    )


def texts(figure):
    return {text.get_text() for text in figure.findobj(Text)}


def test_a_history_names_its_classes(compared):
    out, _ = compared
    history = fp.simulate(dataset=DATA, **SETTINGS)
    assert history.class_labels == EXPECTED
    assert list(history.shown_frame().columns[2:]) == EXPECTED
    assert list(history.per_class().columns) == [0, 1, 2]
    assert set(EXPECTED) <= texts(history.plot()) & texts(history.plot_confusion())
    for folder in out.glob("*/"):
        assert json.loads((folder / "environment.json").read_text())["classes"] == NAMES
        assert StoredRun(folder).history.class_labels == EXPECTED
    assert (
        "classes"
        not in StoredRun(
            fp.simulate(dataset="digits", train_samples=50, out=out / "unnamed", **SETTINGS).path
        ).environment
    )


def test_a_comparison_names_its_classes(compared, capsys):
    from fedpoison.cli import compare  # noqa: PLC0415
    from fedpoison.studies import figures  # noqa: PLC0415

    _, found = compared
    assert found.class_labels == EXPECTED
    assert set(EXPECTED) <= texts(figures.class_by_strategy(found, "none"))
    assert list(compare._classes(found, "none").cells.columns) == ["strategy", *EXPECTED]
    worst = compare._worst_cases(found).cells["worst class"]
    assert all(value.partition(":")[0] in EXPECTED for value in worst)


def test_a_report_names_its_classes(compared, tmp_path):
    out, _ = compared
    fp.write_report(out, tmp_path / "page.html", figures=tmp_path / "figures")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert '"names":["ash","elm","oak"]' in page.replace(" ", "")
    assert any(f"<small>class {label}</small>" in page for label in EXPECTED)
    assert any("0 ash" in path.read_text() for path in (tmp_path / "figures").glob("*damage*.svg"))


def test_a_replay_names_the_classes(tmp_path):
    history = fp.simulate(dataset=DATA, out=tmp_path, keep_updates=[1], **SETTINGS)
    found = replay(history.path, 1, ["median"], influence=False)
    assert set(EXPECTED) <= texts(found.plot())


def test_the_table_of_a_run_names_its_classes():
    from fedpoison.cli.tables import class_table  # noqa: PLC0415

    history = fp.simulate(dataset=DATA, **SETTINGS)
    assert list(class_table({"final": history}).cells["class"]) == [*EXPECTED, "all"]
