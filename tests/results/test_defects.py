"""Lost replies, rounds without effect and runs that are no result are named and added up."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from fedpoison.results.defects import MARKS, Defects, pair_notes, used_marks
from fedpoison.results.history import History
from fedpoison.results.metrics import guess_accuracy, is_guessing
from fedpoison.results.round import Round, Training
from fedpoison.results.run_frame import run_marks
from fedpoison.results.runs import Runs
from fedpoison.scenario.scenario import Scenario

LATE = Defects({"late": 2}, {}, rounds=4)
SKIPPED = Defects({}, {"the strategy did not aggregate": 1}, rounds=4)
NOTHING = Defects({"late": 40}, {"no reply was usable": 4}, rounds=4, no_result=("nobody trained",))


def confusion(correct, samples, classes=10):
    """Return equally frequent classes, of which `correct` samples in all are predicted correctly."""
    each = samples // classes
    counts = np.zeros((classes, classes), dtype=np.int64)
    for label in range(classes):
        right = correct // classes + (label < correct % classes)
        counts[label, label] = right
        counts[label, (label + 1) % classes] = each - right
    return counts


def history(correct, *, attack="none", unchanged=0, samples=10_000, rounds=3):
    training = Training(unchanged={"the strategy did not aggregate": unchanged} if unchanged else {})
    counts = confusion(correct, samples).tolist()
    records = [Round(round=0, confusion=counts, loss=1.0)]
    records.append(Round(round=rounds, confusion=counts, loss=1.0, training=training))
    return History(Scenario(dataset="digits", rounds=rounds, attack=attack, malicious=0.2), records)


@pytest.mark.parametrize("samples", [1000, 10_000])
def test_guessing_is_told_from_learning_with_a_margin_of_chance(samples):
    level = [is_guessing(confusion(correct, samples)) for correct in range(samples)]
    limit = level.index(False) / samples
    assert level == [share < limit for share in np.arange(samples) / samples]
    assert 0.1 < limit < 0.13
    assert binom.sf(limit * samples, samples, 0.1) < 0.002  # guessing hardly ever counts as learning


def test_the_margin_fits_few_samples_and_rare_classes():
    assert not is_guessing(np.diag([1, 1, 1, 1, 1]))
    assert is_guessing(np.array([[90, 0], [10, 0]]))
    assert guess_accuracy(np.array([[90, 0], [10, 0]])) == 0.9
    assert not is_guessing(np.array([[900, 0], [60, 40]]))


def test_a_clean_run_whose_loss_is_not_finite_is_no_result():
    learned = history(5000)
    diverged = replace(learned, records=[*learned.records[:-1], replace(learned.last, loss=None)])
    assert learned.defects.no_result == ()
    assert diverged.defects.no_result[0].startswith("the loss of the clean run is not finite")


@pytest.mark.parametrize(("correct", "guesses"), [(1000, True), (1080, True), (1200, False), (1500, False)])
def test_a_clean_run_at_guessing_level_is_no_result(correct, guesses):
    run = history(correct)
    assert bool(run.defects.no_result) == guesses
    if guesses:
        (note,) = run.notes
        assert note == (
            f"no result: the clean run is at guessing level: accuracy {correct / 100:.1f} %, and "
            "guessing the most frequent class gives 10.0 %; the run is too short, or training failed"
        )
    assert not history(correct, attack="sign-flip").notes  # the attack may have caused that


def test_a_run_in_which_no_round_changed_the_model_is_no_result():
    run = history(9000, attack="sign-flip", unchanged=3)
    reason = "none of the 3 rounds changed the model: the strategy did not aggregate"
    assert run.notes == [f"no result: {reason}"]
    assert reason in repr(run)
    assert reason in run._repr_html_()
    partly = history(9000, attack="sign-flip", unchanged=2)
    assert partly.notes == ["2 of 3 rounds did not change the model: the strategy did not aggregate"]
    assert partly.to_frame()["unchanged"].tolist() == [0, 2]


def test_several_runs_name_their_defects():
    runs = Runs((history(9000, attack="sign-flip", unchanged=3), history(9000), history(9000, unchanged=1)))
    reason = "none of the 3 rounds changed the model: the strategy did not aggregate"
    assert runs.remarks == [
        f"fedavg under sign-flip: no result: {reason}",
        "fedavg under none: 1 of 6 rounds did not change the model: the strategy did not aggregate",
    ]
    assert runs.to_frame()["no_result"].tolist() == [reason, "", ""]
    assert runs.to_frame()["unchanged"].tolist() == [3, 0, 1]
    assert all(remark in runs._repr_html_() for remark in runs.remarks)
    sign_flip, clean = runs.plot().axes
    assert [len(line.get_xdata()) for line in (*sign_flip.lines, *clean.lines)] == [0, 2]


def test_the_initial_model_alone_is_no_defect():
    run = history(1000)
    assert not History(run.scenario, run.records[:1]).notes
    assert not History(run.scenario, []).notes


def test_defects_add_up():
    total = Defects.sum([LATE, LATE, SKIPPED, NOTHING])
    assert (total.runs, total.rounds) == (4, 16)
    assert total.notes == [
        "no result in 1 of 4 runs: nobody trained",
        "44 replies were unusable: 44 x late",
        "1 of 16 rounds did not change the model: the strategy did not aggregate",
        "4 of 16 rounds did not change the model: no reply was usable",
    ]
    assert Defects(dropped={"late": 1}).notes == ["1 reply was unusable: 1 x late"]
    assert Defects.sum([]).notes == []
    assert Defects.sum([LATE]) == LATE


def test_a_value_is_marked_once_and_no_result_replaces_it():
    assert [part.marked("97.5 [96.0, 98.0]") for part in (Defects(), LATE, SKIPPED, NOTHING)] == [
        "97.5 [96.0, 98.0]",
        "97.5 [96.0, 98.0] *",
        "97.5 [96.0, 98.0] *",
        "no result *",
    ]
    assert LATE.marked("-") == "-"
    assert [part.marked_name("krum") for part in (Defects(), LATE, NOTHING)] == [
        "krum",
        "krum *",
        "krum, no result *",
    ]


def test_figures_and_frames_have_the_same_marks():
    parts = [Defects(), LATE, NOTHING]
    marks = run_marks(pd.DataFrame([part.columns() for part in parts])).tolist()
    assert marks == [part.mark for part in parts]
    assert used_marks(marks) == MARKS
    assert used_marks([""]) == {}


def test_notes_name_attacks_and_strategies_in_few_lines():
    everywhere = {(attack, "krum"): NOTHING for attack in ("none", "ipm", "alie")}
    assert pair_notes({("nan", "krum"): LATE, ("nan", "median"): LATE} | everywhere) == [
        "krum under none, ipm, alie: no result: nobody trained",
        "krum, median under nan: 2 replies were unusable: 2 x late",
        "krum under none, ipm, alie: 40 replies were unusable: 40 x late",
    ]
