"""3DFed: a constrained backdoor under noise masks, with decoys, which learns what the server accepted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from clients.attacks.base import AttackCard, AttackSetting, ClientContext, CraftContext, Knowledge, Range
from clients.attacks.data.backdoor import BACKDOOR_GOAL, Square, square_space
from clients.bounds import Bounds, Count, NonNegative, Positive, PositiveCount, ShareBelowOne
from clients.kernels import TINY, column_mean, euclidean_norm, normals
from clients.training import Samples, Trainer, trainable

REJECTED, CLIPPED, ACCEPTED = range(3)
"""Results of the feedback on one update."""
CANDIDATES = 10
"""Number of small coordinates per indicator, among which the curvature decides."""
FLAT = 1e-6
"""Length of the sum of the masks below which it has no direction."""


@dataclass(frozen=True, kw_only=True)
class ThreeDFed(Square):
    """Hide a constrained backdoor under noise masks, send decoys, and adapt both to what the server accepts.

    Li, Ye, Hu, Zheng, Li, Wang, "3DFed: Adaptive and Extensible Framework for Covert Backdoor Attack in
    Federated Learning", IEEE S&P 2023. The loss is the cross-entropy plus the distance from the global
    model. All attackers send this backdoored update. In each of their groups, masks that sum to nearly zero
    change the rows of the output layer that the backdoor leaves alone. Each update has one unused coordinate,
    an indicator, amplified. In the next round the change of the global model there shows which updates the
    server accepted. The attacker then changes the strength of the masks (alpha), and the number of decoys:
    models without a backdoor, far from the others in one unused coordinate. If the change of an indicator is
    no average of updates, the server adds noise. The attack then stops to adapt.

    Raises:
        ValueError: A parameter is outside its bounds, or the model does not end in a linear layer.
    """

    constraint: ShareBelowOne = 0.4
    """Weight of the distance from the global model in the loss. The cross-entropy has the rest."""
    passes: PositiveCount = 15
    """Length of the backdoor training, as a multiple of local training."""
    boost: Annotated[float, Bounds(at_least=1)] = 5.0
    """Largest factor by which a backdoored update is extended to the length of a benign one."""
    group: Annotated[int, Bounds(at_least=2)] = 2
    """Number of attackers whose masks cancel."""
    neurons: PositiveCount = 8
    """Number of rows of the output layer that a group masks, of those other than `target`."""
    noise: NonNegative = 0.05
    """Standard deviation of the initial masks. It is a fifth against a server that adds noise."""
    steps: Count = 30
    """Optimisation steps of the masks, with learning rate 0.1."""
    indicator: Positive = 1e5
    """Factor of an update's indicator."""
    threshold: Positive = 1e-4
    """Share of an indicator in the global model up to which the update counts as rejected."""

    card = AttackCard(
        paper="Li et al., S&P 2023",
        knowledge=Knowledge.COLLUDING,
        trains=True,
        goal=BACKDOOR_GOAL,
        idle_when="share is 0",
        deviations="The numbers are those of the authors' code for MNIST. There one attacker trains the "
        "backdoor, on each batch with and without trigger. Here all attackers train on `share`, and send the "
        "mean. The code looks for indicators in the last convolution, and for decoys in the layer before the "
        "output. Here both are anywhere but in the output layer. The code counts acceptance by the number of "
        "an attacker, the paper by group, as here. In the code, decoys replace honest clients. Here at most "
        "half of the attackers send one.",
    )
    search_space = square_space(
        constraint=Range(low=0.0, high=0.8), noise=Range(low=0.001, high=0.1, log=True), passes=(1, 5, 15)
    )

    def check(self, setting: AttackSetting) -> None:
        super().check(setting)
        setting.require_classifier()

    def train(self, trainer: Trainer, samples: Samples, context: ClientContext) -> float:
        usual = trainer.training
        longer = replace(usual, epochs=self.passes * usual.epochs, steps=self.passes * usual.steps)
        start = context.model.to(trainer.device)

        def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            distance: Tensor = torch.linalg.vector_norm(_flat(model) - start)
            return (1 - self.constraint) * cross_entropy(model(images), labels) + self.constraint * distance

        return trainer.fit(samples, context.generator, training=longer, memory=context.memory, loss=loss)

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        memory, m = context.memory, len(own)
        attacker = context.require_training()
        samples = attacker.samples(context.client_ids[0])
        clean, _ = samples.split_poisoned()
        clean = clean if len(clean) else samples
        self._adapt(context)
        decoys = min(int(memory["decoys"]), m // 2)
        trainer = attacker.trainer()
        rows, free = output_rows(trainer, samples.images[:2])
        curved = curvature(trainer, samples, free)
        trainer = attacker.trainer()
        trainer.fit(clean, context.generator)
        benign = trainer.weights().to(own) - context.model.to(own)
        backdoor = column_mean(own)
        backdoor *= max(1.0, min(euclidean_norm(benign) / max(euclidean_norm(backdoor), TINY), self.boost))

        places = unused(backdoor.abs() + benign.abs(), curved, free, m)
        distant = unused((backdoor - benign).abs(), None, free, decoys)
        sent = [backdoor + mask for mask in self._masks(backdoor, rows, m - decoys, trainer, context)]
        for coordinate in distant:
            trainer = attacker.trainer()
            self._train_decoy(trainer, clean, context, context.model.to(own) + benign, int(coordinate))
            sent.append(trainer.weights().to(own) - context.model.to(own))
        crafted = torch.stack(sent)
        values = self.indicator * crafted[range(m), places]
        values[values == 0] = 0.01
        crafted[range(m), places] = values
        memory["round"], memory["places"], memory["values"] = torch.tensor(context.round), places, values
        memory["sent decoys"] = torch.tensor(decoys)
        return crafted[torch.randperm(m, generator=context.generator)]

    def _adapt(self, context: CraftContext) -> None:
        """Set alpha and the number of decoys from the feedback on the previous round, if there is one."""
        memory = context.memory
        if "noisy" not in memory:
            memory["noisy"], memory["decoys"] = torch.tensor(0), torch.tensor(0)
            memory["alpha"] = torch.empty(0, dtype=torch.float64)
        follows = "round" in memory and int(memory["round"]) == context.round - 1
        if not follows or context.previous_model is None or memory["noisy"]:
            return
        step = context.model.double() - context.previous_model.double()
        read = verdicts((step[memory["places"]] / memory["values"]).tolist(), self.threshold)
        if read is None:
            memory["noisy"] = torch.tensor(1)
            memory["alpha"] = torch.full_like(memory["alpha"], 0.1)
            return
        masked = len(read) - int(memory["sent decoys"])
        groups = [read[start : start + self.group] for start in range(0, masked, self.group)]
        accepted = [group.count(ACCEPTED) >= 0.8 * len(group) for group in groups[: masked // self.group]]
        draws = torch.rand(len(accepted), generator=context.generator, dtype=torch.float64)
        alpha = memory["alpha"].tolist()
        memory["alpha"] = torch.tensor(
            tuned(alpha[: len(accepted)], accepted, draws.tolist()) + alpha[len(accepted) :],
            dtype=torch.float64,
        )
        memory["decoys"] = torch.tensor(next_decoys(int(memory["decoys"]), read[:masked], read[masked:]))

    def _masks(
        self, backdoor: Tensor, rows: Tensor, count: int, trainer: Trainer, context: CraftContext
    ) -> list[Tensor]:
        """Return `count` masks (d,). Those of a group sum to nearly zero, and a group of one has none."""
        memory, generator = context.memory, context.generator
        groups = -(-count // self.group)
        drawn = torch.rand(groups, generator=generator, dtype=torch.float64)
        known = memory["alpha"][:groups]
        fresh = torch.full_like(drawn, 0.1) if memory["noisy"] else drawn
        memory["alpha"] = torch.cat([known, fresh[len(known) :]])
        others = [row for row in range(len(rows)) if row != self.target]
        std = self.noise / 5 if memory["noisy"] else self.noise
        masks = [torch.zeros_like(backdoor) for _ in range(count)]
        for first, alpha in zip(range(0, count, self.group), memory["alpha"].tolist(), strict=True):
            members = masks[first : first + self.group]
            order = torch.randperm(len(others), generator=generator)[: self.neurons].tolist()
            places = rows[[others[position] for position in order]]
            noise = std * normals(backdoor.new_zeros(len(members), *places.shape), generator)
            if len(members) == 1:
                continue
            noise = optimised(
                noise - noise.mean(dim=0),
                backdoor[places],
                alpha=alpha,
                steps=self.steps,
                momentum=trainer.training.momentum,
                decay=trainer.training.weight_decay,
            )
            for mask, values in zip(members, noise, strict=True):
                mask[places] = values
        return masks

    def _train_decoy(
        self, trainer: Trainer, samples: Samples, context: CraftContext, benign: Tensor, coordinate: int
    ) -> None:
        """Train on clean samples, and away from the benign weights (d,) in one coordinate, by up to 10."""

        def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            difference = _flat(model)[coordinate] - float(benign[coordinate])
            moved = torch.where(difference < 0, -difference, difference)
            away = torch.where(moved > 10, 1e-10 * moved, -10 * moved)
            return (cross_entropy(model(images), labels) + away) / 2

        trainer.fit(samples, context.generator, loss=loss)


def output_rows(trainer: Trainer, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the coordinates of each output neuron (k, p), and the mask (d,) of all other layers.

    The mask is True everywhere if there is no other layer.
    """
    classifier = trainer.classifier(images)
    sizes = [parameter.numel() for parameter in trainer.parameters]
    coordinates = dict(zip(map(id, trainer.parameters), torch.arange(sum(sizes)).split(sizes), strict=True))
    parts = [coordinates[id(each)].view(len(each), -1) for each in classifier.parameters()]
    rows = torch.cat(parts, dim=1)
    free = torch.ones(sum(sizes), dtype=torch.bool)
    free[rows] = False
    return rows, free if free.any() else ~free


def curvature(trainer: Trainer, samples: Samples, free: Tensor) -> Tensor:
    """Compute the sums of the rows of the loss's Hessian, over the coordinates of the mask `free` (d,).

    Summed over the batches. The result (d,) is 0 outside of the mask.
    """
    total = torch.zeros(len(free))
    parameters = trainer.parameters
    for index in torch.arange(len(samples)).split(trainer.training.batch_size):
        loss = trainer.loss(*samples.batch(index))
        gradients = torch.autograd.grad(loss, parameters, create_graph=True)
        inside = torch.cat([gradient.reshape(-1) for gradient in gradients])[free].sum()
        again = torch.autograd.grad(inside, parameters, allow_unused=True, materialize_grads=True)
        total += torch.cat([part.reshape(-1) for part in again]).detach()
    return total * free


def unused(size: Tensor, curved: Tensor | None, free: Tensor, count: int) -> Tensor:
    """Return `count` coordinates of the mask `free` (d,) with little use.

    These are the coordinates of smallest `size` (d,). With a curvature (d,), ten times as many are
    candidates, and those of smallest curvature remain. Coordinates repeat if there are too few.

    >>> size, curved = torch.arange(40.0), torch.arange(40.0, 0, -1)
    >>> unused(size, curved, size != 19, 2).tolist(), unused(size, None, size > 1, 2).tolist()
    ([20, 18], [2, 3])
    """
    wanted = min(count if curved is None else CANDIDATES * count, int(free.sum()))
    found = size.masked_fill(~free, torch.inf).argsort(stable=True)[:wanted]
    if curved is not None:
        found = found[curved[found].abs().argsort(stable=True)]
    return found[torch.arange(count) % max(len(found), 1)]


def verdicts(feedback: Sequence[float], threshold: float) -> list[int] | None:
    """Return what became of each update, given the share of its indicator that is in the global model.

    None: the server adds noise, since a share is negative or more than 1.

    >>> verdicts([0.0, 0.05, 0.1], 1e-4), verdicts([0.1, 1.5], 1e-4)
    ([0, 1, 2], None)
    """
    if not all(-threshold <= share <= 1 for share in feedback):
        return None
    most = max(feedback, default=0.0)
    return [
        REJECTED if share <= threshold else CLIPPED if share <= 0.8 * most else ACCEPTED for share in feedback
    ]


def tuned(alpha: Sequence[float], accepted: Sequence[bool], draws: Sequence[float]) -> list[float]:
    """Return the next alpha of each group.

    Args:
        alpha: the last one of each group.
        accepted: whether the server accepted the updates of the group.
        draws: uniform draws from 0 to 1, one per group.

    >>> tuned([0.2, 0.6], [True, True], [0.5, 1.0]), tuned([0.2, 0.6], [True, False], [0.5, 1.0])
    ([0.4, 0.6], [0.25, 0.30000000000000004])
    """
    good = sorted(each for each, kept in zip(alpha, accepted, strict=True) if kept)
    if len(alpha) == 1 and good:
        return list(alpha)
    if not good:
        low, high = 0.0, 1.0
    else:
        low, high = good[0], good[1] if len(good) == len(alpha) else good[0] + 0.1
    return [min(max(low + (high - low) * draw, 0.01), 0.99) for draw in draws]


def next_decoys(decoys: int, masked: Sequence[int], distant: Sequence[int]) -> int:
    """Return the next number of decoys.

    Accepted decoys are taken away. One more is sent if the server accepted neither an update nor a decoy.
    Args are the last number, and the verdicts on the backdoored updates and on the decoys.
    """
    left = max(decoys - distant.count(ACCEPTED), 0)
    return left + (set(masked) <= {REJECTED} and ACCEPTED not in distant)


def optimised(
    masks: Tensor, update: Tensor, *, alpha: float, steps: int, momentum: float, decay: float
) -> Tensor:
    """Optimise the masks of one group (g, r, p) on r rows (r, p) of a backdoored update.

    The loss of a mask n is (alpha 0.1 sum_j 1 / |update_j + n_j|_1 + (1 - alpha) 0.08 |n| + lambda 0.1
    |sum of all masks|) / (1 + lambda). After each step, lambda grows by 0.1 times the length of the sum.
    """
    masks, velocity, weight = masks.clone(), torch.zeros_like(masks), 1.0
    for _ in range(steps):
        masked = update + masks
        size = masked.abs().sum(dim=2, keepdim=True).clamp_min(FLAT)
        visible = -0.1 * masked.sign() / size.square()
        length = torch.linalg.vector_norm(masks, dim=(1, 2), keepdim=True).clamp_min(FLAT)
        total = masks.sum(dim=0)
        common = total / torch.linalg.vector_norm(total).clamp_min(FLAT)
        loss = alpha * visible + (1 - alpha) * 0.08 * masks / length + weight * 0.1 * common
        velocity = momentum * velocity + loss / (1 + weight) + decay * masks
        masks = masks - 0.1 * velocity
        weight += 0.1 * float(torch.linalg.vector_norm(masks.sum(dim=0)))
    return masks


def _flat(model: nn.Module) -> Tensor:
    """Return the weights (d,) of a model, differentiably."""
    return torch.cat([parameter.reshape(-1) for parameter in trainable(model).values()])
