"""No command shows a result without the replies that it lost, or a strategy without a result as robust."""

import json
import re

import pandas as pd
import pytest
from flwr.serverapp.strategy import FedAvg

from fedpoison.results.defects import MARKS
from fedpoison.studies import figures
from fedpoison.studies.study import Study
from fedpoison.studies.study_runner import plan, sweep

FLEET = [
    "--dataset", "digits", "--train-samples", 200, "--test-samples", 200, "--model", "mlp-small",
    "--clients", 10, "--rounds", 2, "--malicious", 0.1, "--lr", 0.1, "--batch-size", 4,
]  # fmt: skip
NEVER = "flwr:FedAvg"
"""A strategy that aggregates nothing in these tests."""
REASON = "none of the 2 rounds changed the model: the strategy did not aggregate"
LOST = "2 replies were unusable: 2 x contains NaN or infinity"


@pytest.fixture(autouse=True)
def never(monkeypatch):
    monkeypatch.setattr(FedAvg, "aggregate_train", lambda *_: (None, None))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def printed(fedpoison, command, store, *options):
    """Return what a command prints as text, and as an object."""
    arguments = [command, *options, "--jobs", 1, "--out", store]
    (code, out, err), (_, text, warned) = fedpoison(*arguments), fedpoison(*arguments, "--json")
    assert code == 0, err
    return out, json.loads(text), warned


def test_compare(fedpoison, store, monkeypatch):
    drawn = []
    monkeypatch.setattr("fedpoison.cli.compare._draw", lambda found, _: drawn.append(found))
    options = [*FLEET, "--attacks", "none,non-finite-update", "--strategies", f"fedavg,{NEVER}"]
    out, found, warned = printed(fedpoison, "compare", store, *options)
    assert f"* {NEVER} under none, non-finite-update: no result: {REASON}" in out
    assert re.search(rf"\* fedavg(, {re.escape(NEVER)})? under non-finite-update: {LOST}", out)
    (row,) = [line for line in out.splitlines() if line.startswith("│ non-finite-update")][:1]
    assert re.search(r"│ +\d+\.\d \* │ +no result \* │", row)
    assert "lowest accuracy" in out
    assert f"warning: {NEVER} under none: no result: {REASON}" in warned
    notes = {(note["attack"], note["strategy"]): note for note in found["notes"]}
    assert notes["none", NEVER]["no_result"] == REASON
    assert notes["non-finite-update", "fedavg"]["dropped"] == {"contains NaN or infinity": 2}
    assert ("none", "fedavg") not in notes
    check_figures(drawn[0])
    assert drawn[0].most_robust() == "fedavg"
    frame = drawn[0].to_frame().set_index(["attack", "strategy"])
    assert frame.loc[("non-finite-update", "fedavg"), "unusable"] == 2
    assert frame.loc[("none", NEVER), "no_result"] == REASON
    assert f"* {NEVER} under none, non-finite-update: no result: {REASON}" in repr(drawn[0])


def check_figures(found):
    """Check that the figures of a comparison mark lost replies, and show no value that is no result."""
    cross = "\N{MULTIPLICATION SIGN}"
    maps = figures.attack_by_strategy(found)
    texts = [text.get_text() for text in maps.axes[0].texts]
    assert texts[1::2] == [cross, cross]
    assert (texts[0][-1] == "*", texts[2][-1] == "*") == (False, True)
    (legend,) = maps.legends
    assert [text.get_text() for text in legend.get_texts()] == [*MARKS.values()]
    clean, attacked = figures.accuracy_by_round(found).axes
    assert [text.get_text() for text in clean.texts] == [f"no result: {NEVER}"]
    assert [text.get_text() for text in attacked.texts] == [
        f"partly without effect: fedavg\nno result: {NEVER}"
    ]
    assert [len(line.get_xdata()) for line in clean.lines] == [3, 0]
    rows = figures.class_by_strategy(found, "non-finite-update").axes[0]
    assert [label.get_text() for label in rows.get_yticklabels()] == ["fedavg *", f"{NEVER} {cross}"]


def test_breakdown_never_calls_a_strategy_robust_that_never_aggregated(fedpoison, store):
    options = [*FLEET[:-6], *FLEET[-4:], "--attacks", "ipm", "--strategies", NEVER, "--shares", "0.2,0.5"]
    out, found, _ = printed(fedpoison, "breakdown", store, *options)
    assert "none up to" not in out
    assert re.search(r"no result \* │ +no result \* │ +- │", out)
    assert f"* {NEVER} under ipm: no result" in out
    (curve,) = found["curves"]
    assert curve["no_result"] == REASON
    assert curve["breaks_at"] is None
    assert [point["no_result"] for point in curve["points"]] == [REASON] * len(curve["points"])
    (points,) = (pd.read_csv(path) for path in store.glob("breakdown-*/points.csv"))
    assert set(points["no_result"]) == {REASON}
    assert not points["broke"].any()


def test_breakdown_counts_a_strategy_as_broken_that_skips_every_round_of_an_attack(fedpoison, store):
    """Flower's Bulyan skips the aggregation if fewer than 11 replies are usable."""
    size = ["--clients", 11, "--shares", "0.1", "--attacks", "non-finite-update"]
    options = [*FLEET[:-8], "--rounds", 2, *FLEET[-4:], *size]
    out, found, _ = printed(
        fedpoison, "breakdown", store, *options, "--strategies", "flwr:Bulyan(num_malicious_nodes=2)"
    )
    (curve,) = found["curves"]
    assert (curve["no_result"], curve["breaks_at_count"]) == (None, 1)
    assert curve["points"][1]["stopped"] == REASON
    assert f"the server had to stop: {REASON}" in out


def test_search(fedpoison, store):
    options = [*FLEET, "--attacks", "ipm", "--trials", 1, "--confirm", 1, "--strategy", NEVER]
    out, found, _ = printed(fedpoison, "search", store, *options)
    assert "strongest: --attack" not in out
    assert "no result *" in out
    attack = found["attacks"][0]["attack"]
    assert f"* without attack; {attack}; repeated with seed 1; 1 more: no result: {REASON}" in out
    assert "accuracy without an attack: no result *" in out
    assert "compared with clean runs" not in out
    assert found["no_result"] == REASON
    assert found["attacks"][0]["no_result"] == found["repeats"][0]["no_result"] == REASON


STUDY = f"""
[base]
dataset = "digits"
train_samples = 200
test_samples = 200
model = "mlp-small"
clients = 10
rounds = 2
malicious = 0.1
lr = 0.1
batch_size = 4

[axes]
attack = ["none", "non-finite-update"]
strategy = ["fedavg", "{NEVER}"]

[figure]
kind = "KIND"
x = "strategy"
series = "attack"
"""


@pytest.mark.parametrize("kind", ["lines", "bars", "heatmap"])
def test_sweep(fedpoison, store, kind):
    file = store / f"{kind}.toml"
    file.write_text(STUDY.replace("KIND", kind))
    out, found, _ = printed(fedpoison, "sweep", store, file)
    assert f"* attack=none, strategy={NEVER}: no result: {REASON}" in out
    assert f"* attack=non-finite-update, strategy=fedavg: {LOST}" in out
    assert len(re.findall(r"no result \*", out)) == 4  # accuracy and worst class, twice
    by_place = {tuple(row["place"].values()): row for row in found["combinations"]}
    assert by_place["none", NEVER]["no_result"] == REASON
    assert by_place["non-finite-update", "fedavg"]["dropped"] == {"contains NaN or infinity": 2}
    runs = pd.read_csv(store / "studies" / kind / "runs.csv").set_index(["attack", "strategy"])
    assert runs.loc[("non-finite-update", "fedavg"), ["unusable", "unchanged"]].tolist() == [2, 0]
    assert runs.loc[("none", NEVER), "no_result"] == REASON
    results = sweep(plan(Study.load(file), out=store), jobs=1)
    figure = results.plot()
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    texts += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert {*MARKS.values()} <= set(texts)
    assert sum(text.endswith("\N{MULTIPLICATION SIGN}") for text in texts) == 2
    assert sum(text.endswith("*") for text in texts) == 1
    assert REASON in repr(results)
    assert REASON in results._repr_html_()


def test_a_replay_names_the_replies_that_the_round_lost(fedpoison, tmp_path):
    options = ["--attack", "non-finite-update", "--keep-updates", "1"]
    _, out, _ = fedpoison("run", *FLEET, *options, "--json", "--out", tmp_path)
    replay = ["replay", json.loads(out)["path"], "--round", 1, "--strategies", "median"]
    _, out, _ = fedpoison(*replay)
    assert "* round 1: 1 reply was unusable: 1 x contains NaN or infinity" in out
    _, out, _ = fedpoison(*replay, "--json")
    assert list(json.loads(out)["dropped"].values()) == ["contains NaN or infinity"]


def test_a_baseline_that_did_not_learn_says_so(fedpoison, tmp_path):
    options = ["--dataset", "digits", "--train-samples", 100, "--rounds", 1, "--lr", 1e-9, "--out", tmp_path]
    _, out, _ = fedpoison("baseline", *options, "--model", "mlp-small")
    assert "warning: clean: no result: the clean run is at guessing level" in out
