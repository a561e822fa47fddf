"""What trackers are told, by the real TensorBoard and by stand-ins for the packages that are optional."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedpoison import cli
from fedpoison.errors import EngineError, RunError
from fedpoison.results.trackers import MLflow, TensorBoard, WeightsAndBiases, measures, with_trackers
from fedpoison.simulation.run import simulate


class Log:
    def __init__(self):
        self.rows, self.endings = [], []

    def log(self, values, step):
        self.rows.append((step, values))

    def close(self, ending):
        self.endings.append(ending)


def test_a_round_is_told_in_finite_numbers(small):
    seen, log = [], Log()
    scenario = small.replace(attack="backdoor", strategy="krum", evaluate_every=2)
    with with_trackers(scenario, [lambda: log], seen.append) as on_round:
        history = simulate(scenario, on_round=on_round)
    assert [step for step, _ in log.rows] == [record.round for record in seen] == [0, 2, 3]
    assert log.endings == ["finished"]
    first, last = log.rows[0][1], log.rows[-1][1]
    assert last["accuracy"] == history.last.accuracy
    assert last["attack_success_rate"] == history.last.attack_success_rate
    assert [last[f"class/{label}"] for label in range(10)] == history.last.per_class_accuracy
    assert {"true_positive_rate", "malicious_mass"} <= last.keys() - first.keys()
    assert last == measures(scenario, history.last)


@pytest.mark.parametrize(
    ("error", "ending"), [(RunError, "failed"), (ZeroDivisionError, "failed"), (KeyboardInterrupt, "killed")]
)
def test_trackers_are_told_when_a_run_has_to_stop(small, error, ending):
    logs = [Log(), Log()]

    def stop(_record):
        raise error

    with pytest.raises(error), with_trackers(small, [lambda: logs[0], lambda: logs[1]], stop) as on_round:
        simulate(small, on_round=on_round)
    assert [log.endings for log in logs] == [[ending], [ending]]


def test_a_tracker_that_cannot_be_closed_keeps_none_of_the_others_open(small):
    log, broken = Log(), SimpleNamespace(close=lambda _ending: 1 / 0)
    with (
        pytest.raises(ZeroDivisionError),
        with_trackers(small, [lambda: log, lambda: broken], lambda _: None),
    ):
        pass
    assert log.endings == ["finished"]


def test_a_tracker_that_cannot_be_opened_leaves_none_of_the_others_open(small):
    log = Log()
    with pytest.raises(ZeroDivisionError), with_trackers(small, [lambda: log, lambda: 1 / 0], lambda _: None):
        pytest.fail("the run began")
    assert log.endings == ["failed"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorBoard's own
def test_tensorboard_reads_what_was_written(small, tmp_path, monkeypatch, capsys):
    events_of = importlib.import_module(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator
    options = [
        "--dataset",
        "digits",
        "--train-samples",
        "400",
        "--clients",
        "4",
        "--model",
        "mlp",
        "--rounds",
        "2",
    ]
    folder = tmp_path / "board"
    arguments = ["run", *options, "--out", str(tmp_path / "runs"), "--tensorboard", str(folder), "--json"]
    monkeypatch.setattr(sys, "argv", ["fedpoison", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    (run,) = folder.iterdir()
    assert (tmp_path / "runs" / run.name).is_dir()
    events = events_of(str(run))
    events.Reload()
    assert [event.step for event in events.Scalars("accuracy")] == [0, 1, 2]
    assert f'"accuracy": {events.Scalars("accuracy")[-1].value:.4f}'[:18] in capsys.readouterr().out
    assert "class/9" in events.Tags()["scalars"]


@pytest.mark.parametrize(("ending", "code"), [("finished", 0), ("failed", 1), ("killed", 255)])
def test_weights_and_biases_is_handed_the_scenario_and_the_measures(small, monkeypatch, ending, code):
    calls = []
    run = SimpleNamespace(
        log=lambda values, step: calls.append((values, step)),
        finish=lambda *, exit_code: calls.append(exit_code),
    )
    fake = SimpleNamespace(init=lambda **options: calls.append(options) or run)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    tracker = WeightsAndBiases(small, "fleets")
    tracker.log({"accuracy": 0.5}, 3)
    tracker.close(ending)
    begun = {"project": "fleets", "name": small.run_id, "config": small.content()}
    assert calls == [begun, ({"accuracy": 0.5}, 3), code]


@pytest.mark.parametrize(
    ("ending", "status"), [("finished", "FINISHED"), ("failed", "FAILED"), ("killed", "KILLED")]
)
def test_mlflow_is_handed_the_scenario_and_the_measures(small, monkeypatch, ending, status):
    calls = []
    fake = SimpleNamespace(
        set_experiment=calls.append,
        start_run=lambda *, run_name: calls.append(run_name),
        log_params=calls.append,
        log_metrics=lambda values, step: calls.append((values, step)),
        end_run=calls.append,
    )
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    tracker = MLflow(small, "fleets")
    tracker.log({"accuracy": 0.5}, 3)
    tracker.close(ending)
    assert calls == ["fleets", small.run_id, small.content(), ({"accuracy": 0.5}, 3), status]


def test_a_run_of_mlflow_that_takes_no_parameters_is_left_as_failed(small, monkeypatch):
    calls = []
    fake = SimpleNamespace(
        set_experiment=calls.append,
        start_run=lambda *, run_name: calls.append(run_name),
        log_params=lambda _: 1 / 0,
        end_run=calls.append,
    )
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    with pytest.raises(ZeroDivisionError):
        MLflow(small, "fleets")
    assert calls == ["fleets", small.run_id, "FAILED"]


@pytest.mark.parametrize(
    ("tracker", "module", "package"),
    [
        (TensorBoard, "torch.utils.tensorboard", "tensorboard"),
        (WeightsAndBiases, "wandb", "wandb"),
        (MLflow, "mlflow", "mlflow"),
    ],
)
def test_a_missing_package_is_named_with_the_remedy(small, monkeypatch, tracker, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EngineError, match=module) as caught:
        tracker(small, Path("nowhere"))
    assert f"pip install '{package}'" in str(caught.value)
