"""Attacks on the training, in common and within a ball, a constraint or a few layers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from crafting import D
from oracles import data_attacks as oracle
from poisoning import arrays, build_context, flat, linear, trained

from clients import ATTACKS
from clients.attacks.base import TRIGGER, Attack, CraftContext
from clients.attacks.composite import Composite, poisons_data, replaces_training
from clients.attacks.data.backdoor import Backdoor, Trigger
from clients.attacks.data.clean_label import CleanLabel
from clients.attacks.data.distributed_backdoor import DistributedBackdoor
from clients.attacks.training.adaptive_trigger import AdaptiveTrigger
from clients.attacks.training.alie_backdoor import AlieBackdoor
from clients.attacks.training.alternating_minimization import AlternatingMinimization
from clients.attacks.training.anticipate import Anticipate
from clients.attacks.training.chameleon import Chameleon
from clients.attacks.training.constrain_and_scale import ConstrainAndScale, ModelReplacement
from clients.attacks.training.critical_layers import CriticalLayers, critical, layers, strengthened
from clients.attacks.training.neurotoxin import Neurotoxin
from clients.attacks.training.pgd import Pgd
from clients.training.batch import Job, poisoned_samples, train_clients
from clients.training.local_training import LocalTraining
from clients.training.parameters import layout_of
from clients.training.trainer import Trainer
from fedpoison.simulation.run import simulate

TRAINING = [kind for kind in ATTACKS.values() if issubclass(kind, Trigger) and kind.train is not Attack.train]


@pytest.mark.parametrize("kind", TRAINING)
def test_alone_it_brings_its_trigger_and_reports_success(kind, digits, deep):
    attack = kind(target=4, share=0.25)
    goal = attack.goal(10)
    assert (goal.target, goal.source) == (4, None)
    few = digits.train[torch.arange(40)]
    made = Backdoor(target=4, share=0.25).poison_data(few, deep, build_context(deep))
    context = build_context(deep, memory={TRIGGER: torch.ones(1, 4, 4)})
    if kind is not AdaptiveTrigger:
        assert torch.equal(attack.poison_data(few, deep, context).images, made.images)
        torch.testing.assert_close(goal.trigger(few).images[..., -4:, -4:].min(), made.images.max())
    assert attack.no_effect(10, 3) is None
    assert kind(share=0).no_effect(10, 3)
    with pytest.raises(ValueError, match="expected 0 to 9"):
        kind(target=10).goal(10)


@pytest.mark.parametrize("lr", [5e-324, 3.4e38])
@pytest.mark.parametrize("kind", TRAINING)
def test_the_learning_rate_can_be_extreme(kind, lr, mixed, deep):
    deep.training = LocalTraining(batch_size=8, lr=lr, weight_decay=0.1, proximal=0.1)
    weights, _ = trained(kind(), deep, mixed, previous_model=deep.weights())
    assert lr > 1 or bool(weights.isfinite().all())


@pytest.mark.parametrize("kind", TRAINING)
def test_without_share_it_trains_on_what_the_others_poisoned(kind, digits, deep):
    few = digits.train[torch.arange(48)]
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    trainer = Trainer(model, LocalTraining(batch_size=8))
    both = Composite((kind(share=0), DistributedBackdoor(target=2)))
    context = build_context(trainer, previous_model=trainer.weights() + 0.01)
    made = both.poison_data(few, trainer, context)
    alone = DistributedBackdoor(target=2).poison_data(few, trainer, build_context(trainer))
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
    ("kind", "parameters"),
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
def test_impossible_knobs_are_refused(kind, parameters):
    with pytest.raises(ValueError, match="got .*expected"):
        kind(**parameters)


@pytest.mark.parametrize(("counts", "replaced"), [((30, 30, 30, 30), True), ((30, 90, 30, 30), False)])
def test_the_default_factor_replaces_the_model_only_among_clients_of_equal_weight(counts, replaced):
    own = torch.tensor([[1.0, -2.0]])
    crafting = CraftContext(generator=torch.Generator(), clients=4, malicious=1, model=torch.zeros(2))
    sent = ModelReplacement().craft(own, None, crafting)
    rows = torch.cat([sent, torch.zeros(3, 2)])  # honest updates near convergence
    average = torch.tensor(counts, dtype=torch.float32) @ rows / sum(counts)
    assert torch.allclose(average, own[0]) == replaced


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
    scenario = small.replace(train_samples=0, clients=5, malicious=0.4, rounds=8, attack=attack)
    history = simulate(scenario)
    assert max(record.success for record in history.records[-3:]) > least
    assert history.last.accuracy > 0.8


@pytest.fixture
def whole(trainer):
    """The trainer of a linear classifier that takes all samples in one batch, so that order is nothing."""
    trainer.training = LocalTraining(batch_size=60, lr=0.1, epochs=6)
    return trainer


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("radius", [0.02, 1e6])
def test_projection_onto_the_ball(mixed, trainer, radius, every):
    start = trainer.weights()
    weights, _ = trained(Pgd(radius=radius, every=every), trainer, mixed, model=start)
    plain, _ = trained(Backdoor(), trainer, mixed, model=start)
    if radius > 1:
        torch.testing.assert_close(weights, plain, rtol=1e-4, atol=1e-6)
    else:
        assert float((weights - start).norm()) == pytest.approx(radius, rel=1e-4)
        assert float((plain - start).norm()) > 2 * radius


def test_a_projected_step_is_the_papers(mixed, whole):
    whole.training = replace(whole.training, epochs=1)
    start = whole.weights()
    stepped, _ = trained(Backdoor(), whole, mixed, model=start)
    weights, _ = trained(Pgd(radius=0.01), whole, mixed, model=start)
    np.testing.assert_allclose(weights, oracle.project(stepped.numpy(), start.numpy(), 0.01), atol=1e-6)
    boxed, _ = trained(Pgd(radius=0.001, norm="linf"), whole, mixed, model=start)
    clipped = np.clip(stepped.numpy() - start.numpy(), -0.001, 0.001)
    np.testing.assert_allclose(boxed.numpy(), start.numpy() + clipped, atol=1e-6)


@pytest.mark.parametrize("attack", [ModelReplacement(), ConstrainAndScale()])
def test_the_average_becomes_the_attackers_model(attack):
    generator = torch.Generator().manual_seed(5)
    model, wanted = torch.randn(30, generator=generator), torch.randn(3, 30, generator=generator)
    context = CraftContext(generator=generator, clients=12, malicious=3, model=model)
    sent = torch.cat([attack.craft(row[None] - model, None, context) for row in wanted])
    cancelling = torch.zeros(9, 30)  # near convergence
    average = model + torch.cat([sent, cancelling]).mean(dim=0)
    torch.testing.assert_close(average, wanted.mean(dim=0))


@pytest.mark.parametrize("attack", [ModelReplacement(factor=7.0), ConstrainAndScale(factor=7.0)])
def test_a_given_factor_is_used(attack):
    context = CraftContext(generator=torch.Generator(), clients=12, malicious=3, model=torch.zeros(2))
    assert attack.craft(torch.tensor([[1.0, -2.0]]), None, context).tolist() == [[7.0, -14.0]]


@pytest.mark.parametrize("alpha", [1.0, 0.7, 0.3])
def test_constrained_training_is_the_papers(mixed, whole, alpha):
    start = linear(whole)
    weights, _ = trained(ConstrainAndScale(alpha=alpha), whole, mixed)
    expected = oracle.constrain(*start, arrays(mixed), steps=6, lr=0.1, alpha=alpha)
    np.testing.assert_allclose(weights, flat(*expected), atol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.2, 20.0])
def test_alie_backdoor_trains_near_the_global_model(mixed, whole, alpha):
    start = linear(whole)
    weights, _ = trained(AlieBackdoor(alpha=alpha), whole, mixed)
    expected = oracle.near_the_start(*start, arrays(mixed), steps=6, lr=0.1, alpha=alpha)
    np.testing.assert_allclose(weights, flat(*expected), atol=1e-5)


@pytest.mark.parametrize("z", [0.0, 0.5, 1.5])
def test_alie_backdoor_stays_within_the_spread_of_the_visible_updates(own, honest, z):
    context = CraftContext(generator=torch.Generator(), clients=16, malicious=4, model=torch.zeros(D))
    sent = AlieBackdoor(z=z).craft(own, honest, context)
    np.testing.assert_allclose(sent, oracle.within_the_spread(own.numpy(), honest.numpy(), z), atol=1e-12)
    alone = AlieBackdoor(z=z).craft(own, None, context)
    np.testing.assert_allclose(alone, oracle.within_the_spread(own.numpy(), own.numpy(), z), atol=1e-12)


def test_the_constraint_holds_the_model_back(mixed, trainer):
    start = trainer.weights()
    distances, angles = [], []
    for alpha in (1.0, 0.2):
        weights, _ = trained(ConstrainAndScale(alpha=alpha), trainer, mixed, model=start)
        distances.append(float((weights - start).norm()))
        weights, _ = trained(ConstrainAndScale(alpha=alpha, anomaly="cosine"), trainer, mixed, model=start)
        angles.append(float(1 - torch.cosine_similarity(weights, start, dim=0)))
    assert distances[1] < 0.5 * distances[0]
    assert angles[1] < 0.5 * angles[0]


@pytest.mark.parametrize("size", [1, 4, 50])
def test_alternating_minimisation_is_the_papers(mixed, whole, size):
    attack = AlternatingMinimization(boost=8.0, rho=0.05, stealth_steps=2)
    start = linear(whole)
    previous = whole.weights() - 0.02
    weights, _ = trained(attack, whole, mixed, previous_model=previous, size=size)
    clean, poisoned = mixed.split_poisoned()
    expected = oracle.alternate(
        *start,
        arrays(clean),
        arrays(poisoned),
        turns=2,
        stealth_steps=2,
        lr=0.1,
        boost={1: 8.0, 4: 2.0, 50: 1.0}[size],
        rho=0.05,
        expected=[part + 0.02 for part in start],
    )
    np.testing.assert_allclose(weights, flat(*expected), atol=1e-5)


def test_stealth_draws_towards_the_benign_update(mixed, whole):
    """With a heavy rho the model ends nearer to where an honest client is expected."""
    previous, start = whole.weights() - 0.02, whole.weights()
    expected = start + 0.02
    distances = [
        float((trained(attack, whole, mixed, model=start, previous_model=previous)[0] - expected).norm())
        for attack in (AlternatingMinimization(rho=0.0), AlternatingMinimization(rho=1.0))
    ]
    assert distances[1] < 0.7 * distances[0]


def test_layers_are_single_tensors(deep):
    masks = layers(layout_of(deep.model))
    assert [int(mask.sum()) for mask in masks] == [4 * 9, 4, 36 * 12, 12, 12 * 10, 10]
    assert bool((torch.stack(masks).sum(dim=0) == 1).all())


@pytest.mark.parametrize("needed", [[0], [1], [2], [0, 2], [1, 2, 3], [0, 1, 2, 3]])
@pytest.mark.parametrize("tau", [0.5, 0.95])
def test_the_critical_layers_are_found(needed, tau):
    """The backdoor works as far as the layers that it needs, some more than others, are malicious."""
    masks = [torch.arange(12) // 3 == layer for layer in range(4)]
    worth = {layer: 1.0 + layer for layer in needed}

    def success(weights):
        return sum(worth[layer] for layer in needed if weights[3 * layer] > 0) / sum(worth.values())

    benign, malicious = -torch.ones(12), torch.ones(12)
    found = critical(benign, malicious, masks, success, tau)
    positions = [list(range(3 * layer, 3 * layer + 3)) for layer in range(4)]
    expected = oracle.critical_layers(benign.tolist(), malicious.tolist(), positions, success, tau)
    assert found.nonzero().flatten().tolist() == sorted(3 * layer + i for layer in expected for i in range(3))
    if tau > 0.9:
        assert sorted(expected) == needed


def test_beyond_one_the_malicious_update_is_multiplied():
    model, benign, malicious = torch.tensor([0.0]), torch.tensor([1.0]), torch.tensor([3.0])
    for strength in (0.25, 0.5, 1.0, 1.5, 4.0):
        expected = strength * 3 + max(0, 1 - strength)
        assert strengthened(model, benign, malicious, strength).item() == pytest.approx(expected)
        shifted = strengthened(model + 5, benign + 5, malicious + 5, strength)
        assert shifted.item() == pytest.approx(5 + expected)


def test_only_critical_layers_leave_the_benign_model(mixed, deep):
    clean, _ = mixed.split_poisoned()
    context = build_context(deep)
    deep.training = replace(deep.training, epochs=8)
    deep.fit(clean, torch.Generator().manual_seed(1))
    benign = deep.weights()
    weights, _ = trained(CriticalLayers(tau=0.5), deep, mixed, model=context.model)
    moved = [bool((weights != benign)[mask].any()) for mask in layers(context.layout)]
    assert any(moved)
    assert not all(moved)


TRAINING = sorted(name for name, attack in ATTACKS.items() if attack.train is not Attack.train)


@pytest.mark.parametrize("name", TRAINING)
def test_an_attack_trains_with_every_setting_of_the_honest_training(name):
    run = simulate(
        attack=name, dataset="digits", model="mlp", clients=4, malicious=0.5, rounds=1, train_samples=160,
        test_samples=100, weight_decay=0.001, proximal=0.1, momentum=0.5,
    )  # fmt: skip
    assert run.last.training.dropped == {}


class BatchNormNet(torch.nn.Module):
    """A network that is no nn.Sequential, with running statistics."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm = torch.nn.Linear(784, 8), torch.nn.BatchNorm1d(8)
        self.last = torch.nn.Linear(8, 10)

    def forward(self, images):
        return self.last(self.norm(self.first(images.flatten(1))).relu())


def trained_by(kind, samples):
    """Train with an attack as a client does, on batches of 8. Poisoning keeps the running statistics."""
    trainer = Trainer(BatchNormNet(), LocalTraining(batch_size=8, lr=0.05))
    classes = [*dict.fromkeys(samples.labels.tolist()), 10]
    given = {"source": classes[0], "target": classes[1]} if kind is CleanLabel and len(samples) > 1 else {}
    context = build_context(trainer, buffers=trainer.buffers(), previous_model=0.9 * trainer.weights())
    job = Job(samples=samples, attack=kind(**given), context=context)
    before = trainer.buffers()
    poisoned_samples(trainer, job)
    assert all(torch.equal(value, before[name]) for name, value in trainer.buffers().items())
    (result,) = train_clients(trainer, [job])
    return result


@pytest.mark.parametrize("count", [1, 9])
@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in ATTACKS.values()
        if (poisons_data(kind()) or replaces_training(kind())) and not kind.card.on_tokens
    ],
)
def test_batch_norm_trains_under_attack_when_a_batch_has_one_sample(kind, count, digits):
    result = trained_by(kind, digits.train[torch.arange(count)])
    assert bool(result.weights.isfinite().all())
