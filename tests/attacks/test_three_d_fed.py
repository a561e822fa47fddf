"""3DFed does what its authors' code does: training, indicators, masks, decoys and what follows in a round."""

import numpy as np
import pytest
import torch
from oracles import data_attacks, three_d_fed
from poisoning import arrays, flat, linear, trained

from clients.attacks.base import CraftContext, OwnTraining
from clients.attacks.training import three_d_fed as attack
from clients.attacks.training.three_d_fed import ThreeDFed
from clients.training.local_training import LocalTraining
from clients.training.parameters import layout_of

LETTERS = "rca"


def numbers(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("constraint", "passes"), [(0.0, 2), (0.4, 3)])
def test_the_backdoor_is_trained_longer_and_near_the_global_model(mixed, trainer, constraint, passes):
    trainer.training = LocalTraining(batch_size=60, lr=0.1, epochs=2)
    start = linear(trainer)
    weights, _ = trained(ThreeDFed(constraint=constraint, passes=passes), trainer, mixed)
    rule = {"steps": 2 * passes, "lr": 0.1, "alpha": 1 - constraint}
    np.testing.assert_allclose(
        weights, flat(*data_attacks.constrain(*start, arrays(mixed), **rule)), atol=1e-5
    )


@pytest.mark.parametrize(
    ("alpha", "momentum", "decay", "steps"), [(0.3, 0.0, 0.0, 1), (0.9, 0.9, 5e-4, 30), (0.0, 0.5, 0.0, 9)]
)
def test_masks_are_optimised_as_by_the_authors(alpha, momentum, decay, steps):
    masks, update = 0.3 * numbers(1, 3, 2, 5), 0.2 * numbers(2, 2, 5)
    settings = {"alpha": alpha, "momentum": momentum, "decay": decay, "steps": steps}
    got = attack.optimised(masks, update, **settings)
    expected = three_d_fed.optimised_masks(masks.tolist(), update.tolist(), **settings)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "feedback",
    [[0.0, 0.05, 0.1], [1e-4, 0.1, 0.08], [0.0, 0.0], [-2e-4, 0.5], [0.3, 1.1], [-5e-5, 0.2, 0.161, 0.159]],
)
def test_the_feedback_is_read_as_by_the_authors(feedback):
    letters = three_d_fed.acceptance(feedback, 1e-4)
    expected = None if letters is None else [LETTERS.index(letter) for letter in letters]
    assert attack.verdicts(feedback, 1e-4) == expected


@pytest.mark.parametrize("accepted", [[True], [False], [True, True, True], [False, True, False], [False] * 3])
def test_alpha_follows_the_feedback_as_by_the_authors(accepted):
    alpha, draws = [0.5, 0.2, 0.95][: len(accepted)], [0.0, 0.4, 1.0][: len(accepted)]
    expected = three_d_fed.tuning(alpha, accepted, draws)
    assert attack.tuned(alpha, accepted, draws) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("masked", "distant"), [("rr", ""), ("rc", ""), ("rrr", "a"), ("rr", "r"), ("aa", "aar")]
)
@pytest.mark.parametrize("decoys", [0, 1, 3])
def test_the_number_of_decoys_follows_the_feedback(decoys, masked, distant):
    read = [[LETTERS.index(letter) for letter in letters] for letters in (masked, distant)]
    assert attack.next_decoys(decoys, *read) == three_d_fed.decoys_next(decoys, masked, distant)


def test_the_curvature_is_that_of_the_loss(samples, trainer):
    trainer.training = LocalTraining(batch_size=2)
    some = samples[torch.arange(4)]
    free = [(first, pixel) for first in (0, 3) for pixel in (20, 27, 64)]
    places = [first * 64 + pixel if pixel < 64 else 640 + first for first, pixel in free]
    mask = torch.zeros(650, dtype=torch.bool)
    mask[places] = True
    got = attack.curvature(trainer, some, mask)
    sums = dict.fromkeys(free, 0.0)
    for half in (torch.arange(2), torch.arange(2, 4)):
        images = some[half].images.flatten(1).double().tolist()
        weight, bias = (part.tolist() for part in linear(trainer))
        for place, value in three_d_fed.hessian_rows(weight, bias, images, free).items():
            sums[place] += value
    np.testing.assert_allclose(got[places], [sums[place] for place in free], atol=1e-6)
    assert not got[~mask].any()


class Attacker:
    """Four attackers with a small network, whose rounds pass one after the other."""

    def __init__(self, trainer, samples, *, m=4, size=1.0, **parameters):
        self.trainer, self.samples, self.m, self.size = trainer, samples, m, size
        self.attack = ThreeDFed(**({"target": 3, "noise": 0.01, "indicator": 100.0} | parameters))
        self.models, self.memory = [trainer.weights()], {}
        self.free = attack.output_rows(trainer, samples.images[:2])[1]

    def send(self):
        def at_start():
            self.trainer.load(self.models[-1])
            return self.trainer

        self.own = self.size * numbers(len(self.models), self.m, len(self.models[-1])).float()
        context = CraftContext(
            generator=torch.Generator().manual_seed(len(self.models)),
            round=len(self.models),
            client_ids=tuple(range(self.m)),
            model=self.models[-1],
            previous_model=self.models[-2] if len(self.models) > 1 else None,
            layout=layout_of(self.trainer.model),
            memory=self.memory,
            own_training=OwnTraining(trainer=at_start, samples=lambda _: self.samples),
        )
        return self.attack.craft(self.own, None, context)

    def receive(self, share):
        """Move the global model by a share of each indicator, and nowhere else."""
        step = torch.zeros_like(self.models[-1])
        step[self.memory["places"]] = share * self.memory["values"]
        self.models.append(self.models[-1] + step)


def test_updates_differ_in_masks_and_in_one_indicator_each(mixed, deep):
    attacker = Attacker(deep, mixed, indicator=1e6, neurons=4, noise=0.05)
    sent = attacker.send()
    common = attacker.own.mean(dim=0)
    places = attacker.memory["places"]
    assert len(set(places.tolist())) == 4
    for place, value in zip(places, attacker.memory["values"], strict=True):
        assert attacker.free[place]
        (row,) = (sent[:, place] == value).nonzero().flatten().tolist()
        assert abs(value) > 1e3 * sent[[other for other in range(4) if other != row], place].abs().max()
    sent[:, places] = common[places]
    different = (sent - sent.mean(dim=0)).abs().amax(dim=0) > 1e-4
    assert not different[attacker.free].any()
    rows, _ = attack.output_rows(deep, mixed.images[:2])
    assert not different[rows[3]].any()
    masked = [(sent - common)[:, row].abs().amax() > 1e-4 for row in rows]
    assert 4 <= sum(masked) <= 8
    noise = (sent - common)[:, ~attacker.free]
    assert float(noise.sum(dim=0).norm()) < 0.2 * float(noise.norm())


@pytest.mark.parametrize(("size", "factor"), [(1e-4, 5.0), (10.0, 1.0)])
def test_short_updates_are_extended_to_the_length_of_a_benign_one(mixed, deep, size, factor):
    attacker = Attacker(deep, mixed, size=size)
    sent = attacker.send().median(dim=0).values
    ratio = (sent / attacker.own.mean(dim=0))[attacker.free].median()
    assert float(ratio) == pytest.approx(factor, rel=1e-3)


def test_accepted_attackers_send_no_decoys_and_rejected_ones_do(mixed, deep):
    attacker = Attacker(deep, mixed)
    attacker.send()
    attacker.receive(0.1)
    attacker.send()
    assert (int(attacker.memory["decoys"]), int(attacker.memory["noisy"])) == (0, 0)
    for expected in (1, 2, 2):
        attacker.receive(0.0)
        sent = attacker.send()
        assert int(attacker.memory["sent decoys"]) == expected
    places = attacker.memory["places"]
    sent[:, places] = attacker.own.mean(dim=0)[places]
    left = (sent - attacker.own.mean(dim=0))[:, attacker.free].abs().amax(dim=1)
    assert (left < 1e-5).tolist().count(True) == 2
    for decoy in sent[left > 1e-5]:
        decoy[places] = 0
        second, first = decoy[attacker.free].abs().sort().values[-2:]
        assert first > 2 * second


def test_a_server_that_adds_noise_ends_the_adaptation(mixed, deep):
    attacker = Attacker(deep, mixed)
    attacker.send()
    attacker.receive(torch.tensor([0.1, 0.1, -0.01, 0.1]))
    attacker.send()
    assert int(attacker.memory["noisy"]) == 1
    assert attacker.memory["alpha"].tolist() == [0.1, 0.1]
    attacker.receive(0.0)
    attacker.send()
    assert (int(attacker.memory["decoys"]), attacker.memory["alpha"].tolist()) == (0, [0.1, 0.1])


@pytest.mark.parametrize("m", [1, 3])
def test_an_attacker_without_a_partner_has_no_mask(mixed, deep, m):
    attacker = Attacker(deep, mixed, m=m, group=4 if m == 1 else 2)
    sent = attacker.send()
    rows, _ = attack.output_rows(deep, mixed.images[:2])
    factor = (sent[:, rows[3]] / attacker.own.mean(dim=0)[rows[3]]).mean()
    left = (sent - factor * attacker.own.mean(dim=0))[:, ~attacker.free].abs().amax(dim=1)
    assert int((left < 1e-4).sum()) == 1


def test_it_needs_a_trainer():
    context = CraftContext(generator=torch.Generator(), model=torch.zeros(3))
    with pytest.raises(ValueError, match="own_training: got None, expected the attacker's trainer and data"):
        ThreeDFed().craft(torch.zeros(2, 3), None, context)
