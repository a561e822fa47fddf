"""A stack of clients against the loop over them: the same batches, the same steps, other rounding."""

import pytest
import torch
from torch import nn

from clients.attacks.base import NoAttack
from clients.attacks.composite import Composite
from clients.attacks.data.backdoor import Backdoor
from clients.attacks.data.label_flip import LabelFlip
from clients.attacks.training.pgd import Pgd
from clients.attacks.updates.simple_updates import ScaledUpdate
from clients.training.batch import can_stack, train_clients, train_clients_stacked
from clients.training.dropout import Dropout
from clients.training.local_training import LocalTraining
from clients.training.trainer import Trainer
from fedpoison.federation.federation import Federation
from fedpoison.models import MODELS, build
from fedpoison.rng import generator_for


def federation_of(small, digits, **changes):
    scenario = small.replace(clients=6, train_samples=300, partition="dirichlet(alpha=1.0)", **changes)
    return Federation(scenario, digits)


def jobs_of(federation, memories, number=1):
    return [
        federation.job(client_id, number, federation.initial, None, memories[client_id])
        for client_id in range(6)
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"epochs": 2, "batch_size": 16},
        {"steps": 7},
        {"momentum": 0.9},
        {"weight_decay": 0.1, "proximal": 0.5},
        {"model": "cnn", "batch_size": 32},
        {"attack": "label-flip", "malicious": 0.5},
        {"attack": "backdoor+scaled-update(factor=2)", "malicious": 0.5},
        {"attack": "adaptive-trigger", "malicious": 0.5, "model": "cnn"},
    ],
    ids=repr,
)
def test_agrees_with_the_loop(small, digits, changes):
    federation = federation_of(small, digits, **changes)
    training = federation.scenario.training
    results = []
    for train in (train_clients, train_clients_stacked):
        memories = [{} for _ in range(6)]
        results.append(list(train(Trainer(federation.model(), training), jobs_of(federation, memories))))
    assert len({each.examples for each in results[0]}) > 1, "nodes of one size would not show the mask"
    for looped, stacked in zip(*results, strict=True):
        assert (stacked.client_id, stacked.examples) == (looped.client_id, looped.examples)
        assert stacked.loss == pytest.approx(looped.loss, rel=1e-4)
        torch.testing.assert_close(stacked.weights, looped.weights, rtol=1e-3, atol=1e-5)


def test_worker_momentum_goes_from_round_to_round(small, digits):
    federation = federation_of(small, digits, momentum=0.9, persistent_momentum=True, steps=3)
    results = []
    for train in (train_clients, train_clients_stacked):
        memories = [{} for _ in range(6)]
        trainer = Trainer(federation.model(), federation.scenario.training)
        for number in (1, 2):
            trained = list(train(trainer, jobs_of(federation, memories, number)))
        results.append([*(each.weights for each in trained), *(memory["momentum"] for memory in memories)])
    for looped, stacked in zip(*results, strict=True):
        torch.testing.assert_close(stacked, looped, rtol=1e-3, atol=1e-5)


def test_the_stack_leaves_the_global_model_and_the_data_alone(small, digits):
    federation = federation_of(small, digits)
    model, images = federation.initial.clone(), federation.train.images.clone()
    list(
        train_clients_stacked(
            Trainer(federation.model(), federation.scenario.training), jobs_of(federation, [{}] * 6)
        )
    )
    assert torch.equal(federation.initial, model)
    assert torch.equal(federation.train.images, images)


def test_a_stack_of_one_or_none(small, digits):
    federation = federation_of(small, digits)
    trainer = Trainer(federation.model(), federation.scenario.training)
    assert list(train_clients_stacked(trainer, [])) == []
    (alone,) = train_clients_stacked(trainer, jobs_of(federation, [{}] * 6)[2:3])
    together = list(train_clients_stacked(trainer, jobs_of(federation, [{}] * 6)))[2]
    torch.testing.assert_close(alone.weights, together.weights, rtol=1e-3, atol=1e-5)


def test_mixed_precision_strays_no_further_in_the_stack_than_in_the_loop(small, digits):
    weights = {}
    for precision in ("fp32", "bf16"):
        federation = federation_of(small, digits, precision=precision)
        for train in (train_clients, train_clients_stacked):
            trained = train(
                Trainer(federation.model(), federation.scenario.training), jobs_of(federation, [{}] * 6)
            )
            weights[precision, train] = torch.stack([each.weights for each in trained])
    strays = {
        train: float((weights["bf16", train] - weights["fp32", train]).norm())
        for train in (train_clients, train_clients_stacked)
    }
    assert 0 < strays[train_clients_stacked] < 1.5 * strays[train_clients]


def test_what_hooks_into_the_training_is_left_to_the_loop(small, digits):
    plain, dropping = nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2), Dropout(0.5))
    for attack in (NoAttack(), LabelFlip(), Composite((Backdoor(), ScaledUpdate()))):
        assert can_stack(plain, attack)
        assert not can_stack(dropping, attack)
    for attack in (Pgd(), Composite((Pgd(), ScaledUpdate()))):
        assert not can_stack(plain, attack)
    federation = federation_of(small, digits, attack="pgd", malicious=0.5)
    trainer = Trainer(federation.model(), federation.scenario.training)
    with pytest.raises(ValueError, match="Use `train_clients`"):
        list(train_clients_stacked(trainer, jobs_of(federation, [{}] * 6)))


def test_an_honest_node_trains_on_its_positions_as_on_a_copy_of_them(small, digits):
    federation = federation_of(small, digits)
    part = federation.parts[0]
    weights = []
    for samples, among in ((federation.train, part), (federation.train[part], None)):
        trainer = Trainer(federation.model(), LocalTraining(batch_size=8))
        trainer.fit(samples, generator_for(0, "batches"), part=among)
        weights.append(trainer.weights())
    assert torch.equal(*weights)


@pytest.mark.parametrize("model", sorted(set(MODELS) - {"cnn-bucketing", "lstm"}))
def test_every_model_without_dropout_trains_in_a_stack(digits, model):
    built = build(MODELS[model], (1, 28, 28), 10, generator_for(0, "model"))
    assert can_stack(built, NoAttack())
