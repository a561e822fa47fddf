"""Attacks that change nothing are recorded and noted: every registered attack, at work and at rest."""

import json

import pytest
import torch
from torch import nn

from clients import ATTACKS
from clients.attacks.composite import crafts_by_itself, poisons_data
from clients.training.samples import Samples
from fedpoison.engines.local import device_grid
from fedpoison.engines.options import EngineOptions
from fedpoison.federation.adversary import differ
from fedpoison.federation.federation import Federation
from fedpoison.federation.server import run_server
from fedpoison.results.history import History
from fedpoison.results.round import Round
from fedpoison.results.store import StoredRun
from fedpoison.scenario.registries import build_attack
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.run import simulate

TINY = Scenario(
    dataset="digits", train_samples=100, test_samples=20, clients=5, rounds=2, model="mlp-small",
    batch_size=10, malicious_nodes=(1, 3), strategy="median",
)  # fmt: skip
AT_WORK = {"alie": "alie(z=1)", "edge-case": "edge-case(share=1)"}
"""Settings with an effect on 20 samples, of attacks whose defaults have none."""
NONE_LEFT = {"train_samples": 5}
"""One sample per client, of which no share is poisoned."""
WORDS = torch.arange(2, 12).repeat(100, 1)
TOKENS = {
    "dataset": (
        Samples(WORDS, torch.arange(100) % 10, 10),
        Samples(WORDS[:20], torch.arange(20) % 10, 10),
    ),
    "model": nn.Sequential(nn.Embedding(20, 2), nn.Flatten(), nn.Linear(20, 10)),
}
"""Data and model of attacks on tokens."""
ALONE = {"knowledge": "own"}
"""Sight of a single update, which has no spread."""
AT_REST = {
    "adaptive-mimic": [ALONE],
    "adaptive-trigger": [NONE_LEFT],
    "alie": [ALONE | {"attack": "alie(z=1)"}, {"attack": "alie(z=1.5)", "malicious_nodes": (2,)}],
    "alternating-minimization": [NONE_LEFT],
    "anticipate": [NONE_LEFT],
    "backdoor": [NONE_LEFT, {"attack": "backdoor(share=0.001)"}, {"attack": "backdoor(share=0)+ipm"}],
    "blended": [NONE_LEFT, {"attack": "blended(share=0.001)+scaled-update"}],
    "chameleon": [NONE_LEFT],
    "clean-label": [{"partition": "sorted", "malicious_nodes": (1, 2)}],
    "constrain-and-scale": [NONE_LEFT],
    "critical-layers": [NONE_LEFT],
    "distributed-backdoor": [NONE_LEFT],
    "edge-case": [{"partition": "sorted", "malicious_nodes": (0, 1)}, {"attack": "edge-case(share=0.001)"}],
    "fang-trimmed-mean": [ALONE],
    "fcba": [NONE_LEFT],
    "gaussian-update": [{"attack": "gaussian-update(mode=add, std=1e-9)"}],
    "identical-coordinate": [ALONE],
    "inject": [{"attack": "inject(share=0.001)"}],
    "ipm": [ALONE | {"attack": "ipm(epsilon=-1.0000001)"}],
    "label-flip": [
        {"attack": "label-flip(share=0.001)"},
        {"attack": "label-flip(mode=targeted)", "partition": "sorted", "malicious_nodes": (3, 4)},
    ],
    "mimic": [ALONE],
    "min-max": [ALONE],
    "min-sum": [ALONE],
    "model-replacement": [NONE_LEFT],
    "neurotoxin": [NONE_LEFT],
    "optimal-alie": [ALONE],
    "pgd": [NONE_LEFT],
    "pixel-noise": [{"attack": "pixel-noise(std=1e-9)"}],
    "pixel-perturbation": [NONE_LEFT],
    "scaled-update": [{"attack": "scaled-update(factor=1.0000001)"}],
    "semantic-backdoor": [NONE_LEFT],
    "partial-drop": [{"attack": "partial-drop(share=1e-9)"}],
    "sig": [{"partition": "sorted", "malicious_nodes": (3, 4)}],
    "sparse-alie": [ALONE],
    "tailored": [ALONE],
    "three-d-fed": [NONE_LEFT],
    "token-backdoor": [TOKENS | NONE_LEFT],
    "wanet": [NONE_LEFT],
    "alie-backdoor": [NONE_LEFT],
}
NEVER_AT_REST = {
    "anti-cge", "anti-clipped-clustering", "anti-signguard", "claimed-examples", "darkfed", "fang-krum",
    "free-rider", "mpaf", "non-finite-update", "optimal-ipm", "poisoned-fl", "random-update", "rop",
    "sign-flip", "zero-update",
}  # fmt: skip
"""Attacks that change every update with any settings that are not refused or warned of before the run."""
CASES = [(name, changes) for name, several in AT_REST.items() for changes in several]


def effects(history):
    return [group.effects for record in history.records for group in record.training.groups]


def test_every_attack_is_in_one_of_the_tables():
    assert AT_REST.keys() | NEVER_AT_REST == ATTACKS.keys() - {"none"}
    assert not AT_REST.keys() & NEVER_AT_REST


@pytest.mark.parametrize("name", sorted(ATTACKS.keys() - {"none"}))
def test_an_attack_at_work_changes_every_client_and_has_no_note(name):
    attack = build_attack(name)
    history = simulate(
        TINY.replace(attack=AT_WORK.get(name, name), **TOKENS if attack.card.on_tokens else {})
    )
    everyone = {1: True, 3: True}
    for each in effects(history):
        assert each.data == (everyone if poisons_data(attack) else {})
        assert each.updates == (everyone if crafts_by_itself(attack) else {})
    assert not [note for note in history.notes if "attack" in note]


@pytest.mark.parametrize(
    ("name", "changes"), CASES, ids=[f"{name}-{place}" for place, (name, _) in enumerate(CASES)]
)
def test_an_attack_that_changes_nothing_is_noted(name, changes):
    warned = []
    scenario = TINY.replace(**{"attack": name, "rounds": 1} | changes)
    history = simulate(scenario, notify=warned.append)
    what = "data" if poisons_data(build_attack(scenario.attack)) else "update"
    clients = len(scenario.malicious_nodes)
    note = (
        f"the attack {scenario.attack} did not change the {what} of {clients} of {clients} attacking clients"
    )
    assert history.notes == [note]
    assert not warned


def test_an_attack_without_effect_gives_the_model_of_the_clean_run(tmp_path):
    scenario = TINY.replace(attack="backdoor(share=0.001)")
    attacked, clean = (
        simulate(scenario, out=tmp_path),
        simulate(scenario.replace(attack="none"), out=tmp_path),
    )
    assert (attacked.path / "model.safetensors").read_bytes() == (
        clean.path / "model.safetensors"
    ).read_bytes()
    assert attacked.notes
    assert not [note for note in clean.notes if "attack" in note]


def test_clients_without_the_class_are_counted():
    scenario = TINY.replace(
        attack="label-flip(mode=targeted)", partition="sorted", malicious=1.0, malicious_nodes=()
    )
    history = simulate(scenario)
    federation = Federation.load(scenario)
    holders = {
        client_id: bool((federation.train.labels[part] == 1).any())
        for client_id, part in enumerate(federation.parts)
    }
    assert all(each.data == holders for each in effects(history))
    idle = list(holders.values()).count(False)
    assert 0 < idle < 5
    assert f"did not change the data of {idle} of 5 attacking clients" in history.notes[-1]


def test_a_change_in_one_round_is_an_effect():
    history = simulate(TINY.replace(attack="rop(z=0)", knowledge="own"))
    first, second = effects(history)
    assert (first.updates, second.updates) == ({1: False, 3: False}, {1: True, 3: True})
    assert history.notes == []


def test_groups_are_noted_each_and_rounds_between_records_count():
    groups = [
        "backdoor(share=0.001): nodes=(1)",
        "ipm: nodes=(3), schedule=once(round=2)",
        "min-max: nodes=(4), knowledge=own",
    ]
    changes = {"malicious_nodes": (), "groups": groups, "rounds": 3, "evaluate_every": 3, "tolerated": 2}
    history = simulate(TINY.replace(**changes))
    assert [(each.data, each.updates) for each in effects(history)] == [
        ({1: False}, {}),
        ({}, {3: True}),
        ({}, {4: False}),
    ]
    assert history.notes == [
        "the attack backdoor(share=0.001) did not change the data of 1 of 1 attacking clients",
        "the attack min-max did not change the update of 1 of 1 attacking clients",
    ]


def test_settings_without_effect_are_noted_once():
    history = simulate(TINY.replace(attack="backdoor(share=0)"))
    assert history.notes == [
        "the attack backdoor(share=0.0) has no effect: share is 0: no image carries the trigger"
    ]


def test_attackers_who_are_never_in_the_sample_are_warned_of():
    warned = []
    scenario = TINY.replace(
        attack="ipm", malicious_nodes=(2,), participation=0.2, rounds=1, strategy="fedavg"
    )
    assert scenario.selection.sample(1) == [1]
    history = simulate(scenario, notify=warned.append)
    assert "none of its clients is in the random sample" in warned[0]
    assert history.notes == warned


def test_records_of_earlier_versions_have_unknown_effects(tmp_path):
    history = simulate(TINY.replace(attack="min-max", knowledge="own"), out=tmp_path)
    assert StoredRun(history.path).history.notes == history.notes != []
    lines = [json.loads(record.to_json()) for record in history.records]
    for line in lines:
        for group in line["training"]["groups"]:
            del group["effects"]
    old = History(history.scenario, [Round.from_json(json.dumps(line)) for line in lines])
    assert effects(old) == [None, None]
    assert old.notes == []


@pytest.mark.parametrize("attack", ["inject", "backdoor(share=0.001)", "min-max+label-flip"])
def test_a_device_reports_the_same_examples_and_effects(digits, attack):
    scenario = TINY.replace(attack=attack, strategy="fedavg")
    federation, records = Federation(scenario, digits), []
    with device_grid(federation, torch.device("cpu"), EngineOptions(workers=1)) as (grid, workers):
        run_server(federation, grid, workers, records.append)
    here = simulate(scenario)
    assert effects(History(scenario, records)) == effects(here)
    for record, other in zip(records, here.records, strict=True):
        assert record.training.trust == pytest.approx(other.training.trust)


def test_rounding_is_no_difference():
    own = torch.tensor([3.0, 4.0])
    assert not differ(own * (1 + 1e-6), own)
    assert differ(own * (1 + 1e-4), own)
    assert differ(torch.full((2,), torch.nan), own)
    assert differ(own, torch.zeros(2))
    assert not differ(torch.zeros(2), torch.zeros(2))
