"""Attacks on the training: each against its paper's definition, and what it is after."""

from dataclasses import replace

import numpy as np
import oracles_data as oracle
import pytest
import torch

from clients import ATTACKS
from clients.adaptive_trigger import AdaptiveTrigger
from clients.alternating_minimization import AlternatingMinimization
from clients.anticipate import Anticipate, anticipated
from clients.attack import TRIGGER, Attack, ClientContext, CraftContext
from clients.backdoor import Backdoor
from clients.chameleon import Chameleon, contrastive_loss
from clients.composite import Composite
from clients.constrain_and_scale import ConstrainAndScale
from clients.critical_layers import CriticalLayers, critical, layers
from clients.distributed_backdoor import DistributedBackdoor
from clients.model_replacement import ModelReplacement
from clients.neurotoxin import Neurotoxin, untouched
from clients.parameters import layout_of
from clients.pgd import Pgd
from clients.samples import chosen
from clients.training import LocalTraining, Trainer
from clients.trigger import Trigger
from fedpoison.central import train_centrally
from fedpoison.simulation import simulate

TRAINING = [kind for kind in ATTACKS.values() if issubclass(kind, Trigger) and kind.train is not Attack.train]


def context_of(trainer, **knobs):
    values = {
        "generator": torch.Generator().manual_seed(1),
        "poison_generator": torch.Generator().manual_seed(2),
        "model": trainer.weights(),
        "layout": layout_of(trainer.model),
    }
    return ClientContext(**(values | knobs))


def trained(attack, trainer, samples, **knobs):
    """Return the weights and the loss of `attack` on `samples`, without any poisoning of its own."""
    context = context_of(trainer, **knobs)
    trainer.load(context.model)
    loss = attack.train(trainer, samples, context)
    return trainer.weights(), loss


@pytest.fixture
def mixed(samples):
    """The samples, a third of them stamped and labelled 3."""
    mask = chosen(60, 1 / 3, torch.Generator().manual_seed(4))
    pixels = samples[mask].pixels()
    pixels[..., -2:, -2:] = 1
    made = samples[mask].with_pixels(pixels)
    return samples.replaced(mask, made.relabelled(torch.full_like(made.labels, 3)))


@pytest.fixture
def whole(trainer):
    """The trainer of a linear classifier that takes all samples in one batch, so that order is nothing."""
    trainer.training = LocalTraining(batch_size=60, lr=0.1, epochs=6)
    return trainer


@pytest.fixture
def deep():
    """A trainer of a small convolutional network."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3),
        torch.nn.MaxPool2d(2),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(36, 12),
        torch.nn.ReLU(),
        torch.nn.Linear(12, 10),
    )
    return Trainer(model, LocalTraining(batch_size=8, lr=0.1))


def arrays(samples):
    return samples.images.flatten(1).double().numpy(), samples.labels.numpy()


def linear(trainer):
    weight, bias = (parameter.detach().double().numpy().copy() for parameter in trainer.parameters)
    return weight, bias


def flat(weight, bias):
    return np.concatenate([weight.ravel(), bias.ravel()])


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
    with pytest.raises(ValueError, match="wanted 0 to 9"):
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


@pytest.mark.parametrize("top", [0.0, 0.05, 0.5, 1.0])
def test_neurotoxin_leaves_the_heaviest_coordinates_alone(mixed, trainer, top):
    start = trainer.weights()
    previous = start + torch.randn(650, generator=torch.Generator().manual_seed(3))
    weights, _ = trained(Neurotoxin(top=top), trainer, mixed, model=start, previous_model=previous)
    masked = oracle.heaviest((start - previous).tolist(), top)
    assert set((untouched(start - previous, top) == 0).nonzero().flatten().tolist()) == masked
    moved = set((weights != start).nonzero().flatten().tolist())
    assert not moved & masked
    assert len(moved) >= 0.9 * (650 - len(masked))


def test_neurotoxin_has_no_mask_in_the_first_round(mixed, trainer):
    start = trainer.weights()
    plain, _ = trained(Backdoor(), trainer, mixed, model=start)
    assert torch.equal(trained(Neurotoxin(), trainer, mixed, model=start)[0], plain)


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
    clean, poisoned = mixed.parted()
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


def test_layers_are_weight_and_bias_together(deep):
    masks = layers(layout_of(deep.model))
    assert [int(mask.sum()) for mask in masks] == [4 * 9 + 4, 36 * 12 + 12, 12 * 10 + 10]
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


def test_only_critical_layers_leave_the_benign_model(mixed, deep):
    clean, _ = mixed.parted()
    context = context_of(deep)
    deep.training = replace(deep.training, epochs=8)
    deep.fit(clean, torch.Generator().manual_seed(1))
    benign = deep.weights()
    weights, _ = trained(CriticalLayers(tau=0.5), deep, mixed, model=context.model)
    moved = [bool((weights != benign)[mask].any()) for mask in layers(context.layout)]
    assert any(moved)
    assert not all(moved)


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_the_anticipated_loss_is_the_papers_with_its_exact_gradient(mixed, trainer, moves):
    clean, poisoned = mixed.parted()
    ahead = [clean[torch.arange(10) + 10 * move] for move in range(moves)]
    names = [name for name, _ in trainer.model.named_parameters()]
    weights = dict(zip(names, trainer.parameters, strict=True))
    loss = anticipated(trainer.model, weights, poisoned.images, poisoned.labels, ahead=ahead, rate=0.3)
    start = linear(trainer)

    def value(weight, bias):
        return oracle.anticipated(weight, bias, arrays(poisoned), [arrays(part) for part in ahead], 0.3)

    assert float(loss.detach()) == pytest.approx(value(*start), rel=1e-5)
    gradient = torch.autograd.grad(loss, trainer.parameters)[0]
    for row, column in ((0, 0), (3, 17), (9, 63)):
        nudge = np.zeros_like(start[0])
        nudge[row, column] = 1e-5
        slope = (value(start[0] + nudge, start[1]) - value(start[0] - nudge, start[1])) / 2e-5
        assert float(gradient[row, column]) == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_anticipating_nothing_is_a_plain_backdoor(mixed, trainer):
    start = trainer.weights()
    plain, _ = trained(Backdoor(), trainer, mixed, model=start)
    torch.testing.assert_close(trained(Anticipate(moves=0), trainer, mixed, model=start)[0], plain)
    assert not torch.equal(trained(Anticipate(every=2), trainer, mixed, model=start)[0], plain)


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 1, 2], [0] * 6, [0, 1, 2, 3, 4, 5]])
def test_the_contrastive_loss(labels):
    features = torch.randn(6, 5, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    loss = contrastive_loss(features, torch.tensor(labels), 0.3)
    assert float(loss) == pytest.approx(oracle.contrastive(features.numpy(), labels, 0.3), abs=1e-9)


def test_chameleon_trains_features_then_the_classifier_alone(mixed, deep):
    head = 12 * 10 + 10
    fits = []
    fit = deep.fit

    def noted(*args, **kwargs):
        before = deep.weights()
        loss = fit(*args, **kwargs)
        fits.append(deep.weights() != before)
        return loss

    deep.fit = noted
    trained(Chameleon(), deep, mixed)
    contrast, classifier = fits
    assert bool(contrast[:-head].any())
    assert not contrast[-head:].any()
    assert bool(classifier[-head:].any())
    assert not classifier[:-head].any()


def test_contrast_draws_poison_to_its_target_and_away_from_what_it_shows(mixed, deep):
    start = deep.weights()
    deep.training = replace(deep.training, epochs=10)
    trained(Chameleon(pace=1.0), deep, mixed, model=start)
    after = deep.weights()

    def affinity(weights):
        deep.load(weights)
        clean, poisoned = mixed.parted()
        unit = [
            torch.nn.functional.normalize(deep.features(part.images), dim=1) for part in (poisoned, clean)
        ]
        similar = unit[0] @ unit[1].T
        facilitators = clean.labels == 3
        return float((similar[:, facilitators].mean() - similar[:, ~facilitators].mean()).detach())

    assert affinity(after) > affinity(start) + 0.1


def test_an_adapted_trigger_raises_success_on_a_fixed_model(digits):
    few = digits.train[torch.arange(400)]
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(784, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)
    )
    trainer = Trainer(model, LocalTraining(batch_size=16, lr=0.05))
    trainer.fit(few, torch.Generator().manual_seed(0), training=LocalTraining(epochs=4, lr=0.05))
    attack, memory = AdaptiveTrigger(target=8, size=9), {}
    start = trainer.weights()
    test = digits.test[digits.test.labels != 8]

    def success(shown):
        return float((trainer.predict(shown.images).argmax(dim=1) == 8).float().mean())

    before = success(attack.goal(10).trigger(test))
    for _ in range(3):
        made = attack.poison_data(few, trainer, context_of(trainer, model=start, memory=memory))
        assert torch.equal(trainer.weights(), start)
    trigger = memory[TRIGGER]
    assert trigger.shape == (1, 9, 9)
    assert 0 <= float(trigger.min()) <= float(trigger.max()) <= 1
    corner = made.parted()[1].pixels()[..., -9:, -9:]
    torch.testing.assert_close(corner, trigger.expand_as(corner))
    after = success(attack.goal(10).learned(test, [trigger]))
    assert after > before + 0.1


def test_the_hardened_model_resists_the_trigger(digits):
    few = digits.train[torch.arange(400)]
    torch.manual_seed(0)
    trainer = Trainer(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10)),
        LocalTraining(batch_size=16, lr=0.02),
    )
    poisoned = Backdoor(target=8, size=5).poison_data(few, trainer, context_of(trainer))
    trainer.fit(poisoned, torch.Generator().manual_seed(0), training=LocalTraining(epochs=4, lr=0.02))
    start, trigger = trainer.weights(), torch.ones(1, 5, 5)
    attack = AdaptiveTrigger(target=8, hardening=20)
    hardened = attack._hardened(trigger, few, trainer, context_of(trainer))
    shown = attack.triggered_by(few[few.labels != 8], [trigger])

    def success(weights):
        trainer.load(weights)
        return float((trainer.predict(shown.images).argmax(dim=1) == 8).float().mean())

    assert success(hardened) < success(start) - 0.3


def test_triggers_of_several_attackers_take_turns(samples):
    attack = AdaptiveTrigger(size=2)
    shown = attack.triggered_by(samples, [torch.full((1, 2, 2), value) for value in (0.0, 0.5, 1.0)])
    assert shown.pixels()[:6, 0, -1, -1].tolist() == pytest.approx([0.0, 0.5, 1.0] * 2, abs=1e-6)
    assert torch.equal(shown.labels, samples.labels)


def test_learned_triggers_reach_the_evaluation(small):
    history = simulate(small.but(attack="adaptive-trigger(size=6)", rounds=2))
    grey = simulate(small.but(attack="adaptive-trigger(size=6, steps=0)", rounds=2))
    assert history.records[0].triggered == grey.records[0].triggered
    assert history.last.triggered != grey.last.triggered
    assert not history.last.training.dropped


def test_a_learned_trigger_is_measured_in_central_training_too(small):
    history = train_centrally(small.but(model="cnn", attack="adaptive-trigger", rounds=1, train_samples=100))
    assert history.last.attack_success_rate is not None


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
    with pytest.raises(ValueError, match="got .*wanted"):
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
