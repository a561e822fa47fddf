"""The pictures of the architecture show the rooms, the layers and one round as the code has them."""

import importlib.util
import sys
import threading

import pytest
from conftest import ROOT

from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.run import simulate


@pytest.fixture(scope="module")
def pictures():
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "docs" / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pictures_are_those_of_the_code(pictures):
    for name, draw in pictures.PICTURES.items():
        drawn = (pictures.FOLDER / name).read_text(encoding="utf-8")
        assert drawn == draw(), f"{name} is old: run `python docs/pictures.py` and look at it"


def test_every_room_has_a_purpose(pictures):
    for layer in pictures.layers():
        for room in layer:
            assert pictures.purpose(room).endswith("."), room


def test_every_package_and_module_is_in_a_room(pictures):
    rooms = {room for layer in pictures.layers() for room in layer}
    inside = {
        f"fedpoison.{path.stem}"
        for path in (ROOT / "fedpoison").iterdir()
        if (path.is_dir() or path.suffix == ".py") and not path.name.startswith("__")
    }
    assert inside == {room for room in rooms if room.startswith("fedpoison.")}


def test_a_round_goes_the_way_of_the_picture(pictures, tmp_path):
    steps = [name for name, _ in pictures.ROUND]
    calls = []

    def note(frame, event, _argument):
        if event == "call":
            name = f"{frame.f_globals.get('__name__')}:{frame.f_code.co_qualname}"
            if name in steps:
                calls.append(name)

    scenario = Scenario(
        dataset="digits", train_samples=80, test_samples=40, clients=4, malicious=0.25, attack="ipm",
        strategy="median", rounds=1, model="mlp",
    )  # fmt: skip
    before = sys.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        simulate(scenario, out=tmp_path, workers=1)
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
    made = iter(calls)
    missing = [step for step in steps if not any(call == step for call in made)]
    assert missing == [], f"{calls} does not contain the steps of the picture in their order"
