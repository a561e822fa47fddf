"""The page "In your own Flower app", and its complete app: attacked, defended, and in Flower's runtime."""

from __future__ import annotations

import importlib
import json
import re
import time

import pytest
import torch
from conftest import ROOT
from flwr.app import Context, RecordDict
from flwr.clientapp import ClientApp
from hand_messages import NODES, HandGrid, begin, client_context, record, reply
from torch.utils.data import TensorDataset

from fedpoison.engines import flower as runtime
from fedpoison.flower import AttackedStrategy

APP = ROOT / "experiments" / "examples" / "flower_app"
PAGE = (ROOT / "docs" / "flower-app.md").read_text(encoding="utf-8")
DEFENCE = "nnm(byzantine=3) | trimmed-mean(byzantine=3)"
CONFIG = {
    "rounds": 5, "clients": 10, "lr": 0.1, "seed": 0, "rule": "", "attack": "", "mod": "", "poison": "",
    "malicious": 0.3, "out": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def app():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(APP))
        yield {name: importlib.import_module(f"digits_app.{name}") for name in ("client_app", "server_app")}


class AppGrid(HandGrid):
    """A grid that calls the ClientApp of the example in this process."""

    def __init__(self, client_app, config):
        super().__init__()
        self.app = client_app
        self.contexts = {
            node: Context(1, node, {"partition-id": place, "num-partitions": 10}, RecordDict({}), config)
            for place, node in enumerate(NODES)
        }

    def send_and_receive(self, messages, *, timeout=None):
        for number, message in enumerate(messages):
            message.metadata.__dict__["_message_id"] = str(number + 1)
            yield self.app(message, self.contexts[message.metadata.dst_node_id])


def run_app(app, path, **changes):
    """Run the example without a runtime and return its report."""
    config = CONFIG | {"out": str(path / "out.json")} | changes
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        app["server_app"].main(
            AppGrid(app["client_app"].app, config), Context(1, 1, {}, RecordDict({}), config)
        )
    finally:
        torch.set_num_threads(before)
    return json.loads((path / "out.json").read_text())


def shown():
    """Return the accuracies in per cent of the page's table, by attack: without and with the defence."""
    rows = re.findall(r"^\| (?:`(\w+)=\"(.+?)\"`|none) \| ([\d.]+) \| ([\d.]+) \|$", PAGE, re.MULTILINE)
    return {(key, attack): (float(plain), float(defended)) for key, attack, plain, defended in rows}


@pytest.mark.parametrize(("key", "attack"), [*shown()], ids=lambda value: value or "none")
def test_the_table_of_the_page_is_what_the_app_gives(app, tmp_path, key, attack):
    changes = {key: attack} if key else {}
    for rule, expected in zip(("", DEFENCE), shown()[key, attack], strict=True):
        report = run_app(app, tmp_path, rule=rule, **changes)
        # FedAvg sums in the random order of its sample, and a broken model amplifies the rounding.
        tolerance = 3 if rule or not key else 10
        assert 100 * report["accuracy"]["5"] == pytest.approx(expected, abs=tolerance)
        if rule:
            assert len(report["rounds"]) == 50
            assert all(row["dropped"] is None or row["dropped"] != row["dropped"] for row in report["rounds"])


def test_the_defence_of_the_table_withstands_what_breaks_the_average():
    table = shown()
    assert len(table) == 4
    clean, _ = table.pop(("", ""))
    assert clean > 90
    assert all(plain < 80 and defended > 90 for plain, defended in table.values())


def test_the_code_of_the_page_and_of_the_readme_runs():
    """Run all Python of the page in its order, with a round of its strategy and the data of a client."""
    names: dict[str, object] = {}
    readme = (ROOT / "README.md").read_text(encoding="utf-8").partition("## In your own Flower app")[2]
    for text in (readme, PAGE):
        for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            exec(compile(block, "flower-app.md", "exec"), names)  # noqa: S102  # the page's own code
    assert isinstance(names["app"], ClientApp)
    strategy = names["strategy"]
    assert isinstance(strategy, AttackedStrategy)
    model = {"w": torch.zeros(4)}
    sent = begin(strategy, model, grid=HandGrid(NODES))
    arrays, metrics = strategy.aggregate_train(
        1, [reply(message, {"w": torch.full((4,), float(node))}) for node, message in sent.items()]
    )
    assert len(strategy.malicious) == 2
    assert metrics["dropped"] == 0
    assert record(model).keys() == arrays.keys()
    data = TensorDataset(torch.zeros(4, 1, 8, 8), torch.tensor([1, 1, 0, 7]))
    poisoned = [names["poisoned"](data, client_context(place)) for place in range(10)]
    labels = [[int(label) for _, label in each] for each in poisoned]
    assert sorted(labels).count([7, 7, 0, 7]) == 2
    assert sorted(labels).count([1, 1, 0, 7]) == 8


@pytest.mark.flower
def test_the_app_runs_in_flowers_simulation_runtime(app, tmp_path):
    """Under attack and defended, the runtime gives the accuracies of the hand-driven loop."""
    changes = {"rounds": 2, "clients": 4, "attack": "ipm(epsilon=5)", "rule": "median", "malicious": 0.25}
    out = tmp_path / "out.json"
    environment = runtime._environment(tmp_path) | {"OMP_NUM_THREADS": "1"}
    config = " ".join(f"{name}={json.dumps(value)}" for name, value in (changes | {"out": str(out)}).items())
    resources = "num-supernodes=4 client-resources-num-cpus=1"
    with runtime._superlink(tmp_path, environment):
        arguments = ["run", str(APP), "--federation-config", resources, "--run-config", config]
        run_id = str(runtime._flwr([*arguments, "--format", "json"], environment)["run-id"])
        deadline = time.monotonic() + 480  # about 40 s on two idle cores
        while not (complete := out.is_file() and out.read_text().endswith("}")):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        if not complete:
            pytest.fail(runtime._flwr_text(["log", run_id, "--show"], environment))
    report = json.loads(out.read_text())
    assert [*report["accuracy"]] == ["0", "1", "2"]
    assert len(report["rounds"]) == 8
    assert {row["round"] for row in report["rounds"]} == {1, 2}
    assert sum(row["trust"] for row in report["rounds"]) == pytest.approx(2)
    assert report["accuracy"]["2"] > 0.3
