"""Attacks on the training have in common a trigger, knobs within their ranges, and a backdoor that opens."""

import pytest
import torch
from poisoning import context_of, trained

from clients import ATTACKS
from clients.adaptive_trigger import AdaptiveTrigger
from clients.alternating_minimization import AlternatingMinimization
from clients.anticipate import Anticipate
from clients.attack import TRIGGER, Attack
from clients.backdoor import Backdoor, Trigger
from clients.chameleon import Chameleon
from clients.composite import Composite
from clients.constrain_and_scale import ConstrainAndScale
from clients.critical_layers import CriticalLayers
from clients.distributed_backdoor import DistributedBackdoor
from clients.model_replacement import ModelReplacement
from clients.neurotoxin import Neurotoxin
from clients.pgd import Pgd
from clients.training import LocalTraining, Trainer
from fedpoison.simulation import simulate

TRAINING = [kind for kind in ATTACKS.values() if issubclass(kind, Trigger) and kind.train is not Attack.train]


@pytest.mark.parametrize("kind", TRAINING)
def test_alone_it_brings_its_trigger_and_reports_success(kind, digits, deep):
    attack = kind(target=4, share=0.25)
    goal = attack.goal(10)
    assert (goal.target, goal.source) == (4, None)
    few = digits.train[torch.arange(40)]
    made = Backdoor(target=4, share=0.25).poison_data(few, deep, context_of(deep))
    context = context_of(deep, memory={TRIGGER: torch.ones(1, 4, 4)})
    if kind is not AdaptiveTrigger:
        assert torch.equal(attack.poison_data(few, deep, context).images, made.images)
        torch.testing.assert_close(goal.trigger(few).images[..., -4:, -4:].min(), made.images.max())
    assert attack.idle(10, 3) is None
    assert kind(share=0).idle(10, 3)
    with pytest.raises(ValueError, match="expected 0 to 9"):
        kind(target=10).goal(10)


@pytest.mark.parametrize("kind", TRAINING)
def test_without_share_it_trains_on_what_the_others_poisoned(kind, digits, deep):
    few = digits.train[torch.arange(48)]
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    trainer = Trainer(model, LocalTraining(batch_size=8))
    both = Composite((kind(share=0), DistributedBackdoor(target=2)))
    context = context_of(trainer, previous_model=trainer.weights() + 0.01)
    made = both.poison_data(few, trainer, context)
    alone = DistributedBackdoor(target=2).poison_data(few, trainer, context_of(trainer))
    assert torch.equal(made.images, alone.images)
    assert both.goal(10).target == 2
    both.train(trainer, made, context)
    assert not torch.equal(trainer.weights(), context.model)


@pytest.mark.parametrize("kind", [AlternatingMinimization, CriticalLayers, Anticipate])
def test_where_all_or_nothing_is_poisoned_it_trains_as_usual(kind, samples, trainer):
    start = trainer.weights()
    expected, _ = trained(Backdoor(), trainer, samples)
    for part in (samples, samples.replaced(torch.ones(60, dtype=torch.bool), samples)):
        assert torch.equal(trained(kind(), trainer, part, model=start)[0], expected)


@pytest.mark.parametrize(
    ("kind", "knobs"),
    [
        (Backdoor, {"size": 0}),
        (Backdoor, {"value": 1.5}),
        (Pgd, {"radius": 0}),
        (Pgd, {"every": 0}),
        (Pgd, {"share": 1.5}),
        (Neurotoxin, {"top": 1.5}),
        (AlternatingMinimization, {"boost": 0}),
        (AlternatingMinimization, {"stealth_steps": -1}),
        (ConstrainAndScale, {"alpha": 0}),
        (ConstrainAndScale, {"factor": -1}),
        (ModelReplacement, {"factor": 0}),
        (CriticalLayers, {"tau": 2}),
        (CriticalLayers, {"probes": 0}),
        (Anticipate, {"moves": -1}),
        (Anticipate, {"every": 0}),
        (Chameleon, {"temperature": 0}),
        (AdaptiveTrigger, {"size": 0}),
        (AdaptiveTrigger, {"steps": -1}),
    ],
    ids=repr,
)
def test_impossible_knobs_are_refused(kind, knobs):
    with pytest.raises(ValueError, match="got .*expected"):
        kind(**knobs)


@pytest.mark.parametrize(
    ("attack", "least"),
    [
        ("model-replacement", 0.9),
        ("alternating-minimization", 0.8),
        ("neurotoxin", 0.7),
        ("critical-layers", 0.5),
    ],
)
def test_the_backdoor_opens(small, attack, least):
    scenario = small.but(train_samples=0, clients=5, malicious=0.4, rounds=8, attack=attack)
    history = simulate(scenario)
    assert max(record.success for record in history.records[-3:]) > least
    assert history.last.accuracy > 0.8
