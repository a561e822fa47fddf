"""Training of a client batch: one client after the other, or stacked as one model for accelerators."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.functional import cross_entropy

from clients.attacks.base import Attack, ClientContext, NoAttack, checked_type
from clients.attacks.composite import poisons_data, replaces_training
from clients.training.dropout import has_dropout
from clients.training.local_training import LocalTraining, arithmetic, batches, sgd_step
from clients.training.parameters import Buffers, Layout, layout_of, trainable
from clients.training.samples import Samples
from clients.training.trainer import Trainer


@dataclass(frozen=True, eq=False)
class DataReport:
    """What the client's reply reports of its data."""

    examples: int
    """Number of examples, as the attack claims it."""
    changed: bool | None = None
    """Whether the attack changed the data or their number. None without an attack on the data."""


@dataclass(frozen=True, eq=False)
class Job:
    """Training of one client in one round."""

    samples: Samples
    attack: Attack
    """`NoAttack` for an honest client."""
    context: ClientContext
    part: Tensor | None = None
    """Positions of the client's samples. Default: all. Honest clients do not copy their samples."""
    report: DataReport | None = None
    """Report on the data before `samples` were poisoned. None: `samples` are not poisoned yet."""

    @property
    def examples(self) -> int:
        """Return the number of the samples on which the client trains."""
        return len(self.samples) if self.part is None else len(self.part)

    def own(self) -> Samples:
        """Return only the client's samples."""
        return self.samples if self.part is None else self.samples[self.part]

    def reported(self, poisoned: Samples | None = None) -> DataReport:
        """Return the report on the data, with the result of an attack on them if there is one."""
        if self.report is not None:
            return self.report
        examples = checked_type("claimed_examples", self.attack.claimed_examples(self.examples), int)
        if poisoned is None or not poisons_data(self.attack):
            return DataReport(examples)
        return DataReport(examples, examples != self.examples or not poisoned.same_as(self.own()))


@dataclass(frozen=True, eq=False)
class Trained:
    """Result of one client's training."""

    client_id: int
    weights: Tensor
    """Final parameters, (d,)."""
    examples: int
    """Number of examples that the client reports."""
    loss: float
    """Mean over the batches."""
    changed: bool | None = None
    """Whether the attack changed the data or their number. None without an attack on the data."""
    buffers: Buffers = field(default_factory=dict)
    """Final buffers by name."""


def train_clients(trainer: Trainer, jobs: Sequence[Job]) -> Iterator[Trained]:
    """Train the clients one after the other and yield their results.

    The results do not depend on the client batches: no state passes from one job to the next.
    """
    for job in jobs:
        context = job.context
        trainer.load(context.model, context.buffers)
        samples = None
        if poisons_data(job.attack) or replaces_training(job.attack):
            samples = poisoned_samples(trainer, job)
            loss = checked_type("train", job.attack.train(trainer, samples, context), float)
        else:
            loss = trainer.fit(job.samples, context.generator, memory=context.memory, part=job.part)
        report = job.reported(samples)
        yield Trained(
            client_id=context.client_id,
            weights=trainer.weights(),
            examples=report.examples,
            loss=loss,
            changed=report.changed,
            buffers=trainer.buffers(),
        )


def can_stack(model: nn.Module, attack: Attack) -> bool:
    """Return whether a client can train in a stack: with honest training and without dropout."""
    return not replaces_training(attack) and not has_dropout(model)


def why_not_stacked(model: nn.Module, images: Tensor) -> str | None:
    """Return why clients with this model cannot train as one stack, or None if they can.

    Args:
        model: the model.
        images: a few samples on the model's device.

    >>> why_not_stacked(nn.BatchNorm1d(3), torch.ones(2, 3))
    'it has buffers'
    """
    if any(True for _ in model.buffers()):
        return "it has buffers"
    weights = {name: torch.stack([part, part]) for name, part in trainable(model).items()}
    try:
        vmap(lambda each: functional_call(model, each, (images,)))(weights)
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        return str(error).splitlines()[0]
    return None


def poisoned_samples(trainer: Trainer, job: Job) -> Samples:
    """Return the client's samples after the attack, given a trainer that contains the global model."""
    with trainer.stream(job.samples, job.context.generator):
        result = job.attack.poison_data(job.own(), trainer, job.context)
    if job.context.buffers:  # an attack that runs the model changes its running statistics
        trainer.load(job.context.model, job.context.buffers)
    return checked_type("poison_data", result, Samples)


def poison_job(trainer: Trainer, job: Job) -> Job:
    """Poison the data of `job` and return a job with honest training on that data, and a report on it."""
    if not poisons_data(job.attack):
        return replace(job, attack=NoAttack(), report=job.reported())
    trainer.load(job.context.model, job.context.buffers)
    samples = poisoned_samples(trainer, job)
    return replace(job, samples=samples, attack=NoAttack(), part=None, report=job.reported(samples))


def train_clients_stacked(trainer: Trainer, jobs: Sequence[Job]) -> Iterator[Trained]:
    """Train clients as one stack and yield the results of `train_clients`, up to rounding.

    The weights stay on the trainer's device. The clients' parameters are the rows of one matrix. One step
    trains all rows on the batches of the loop, padded to one length with a mask. Clients with fewer batches
    stop earlier.

    Args:
        trainer: training and model. Only data poisoning writes to its parameters.
        jobs: the clients' jobs, without an attack that replaces the training.

    Raises:
        ValueError: The model has dropout, or an attack replaces the training: see `can_stack`.
    """
    refused = [job.attack for job in jobs if not can_stack(trainer.model, job.attack)]
    if refused:
        raise ValueError(
            f"attack: got {refused[0]}, expected honest training without dropout. Use `train_clients`."
        )
    if not jobs:
        return
    training, device = trainer.training, trainer.device
    ready = [poison_job(trainer, job) for job in jobs]
    plans = [list(batches(job.examples, training, job.context.generator, job.part)) for job in ready]
    order = sorted(range(len(jobs)), key=lambda each: -len(plans[each]))  # longest training first
    stacked, taken = [ready[each] for each in order], [plans[each] for each in order]
    weights = torch.stack([job.context.model.to(device) for job in stacked])
    velocity = (
        torch.stack([_velocity(job, weights[0], training) for job in stacked]) if training.momentum else None
    )
    losses = _train(trainer, weights, velocity, _Batches.from_jobs(stacked, taken, device))
    rows = {each: row for row, each in enumerate(order)}
    for each, job in enumerate(jobs):
        row = rows[each]
        if velocity is not None and training.persistent_momentum:
            job.context.memory["momentum"] = velocity[row].clone()
        report = ready[each].reported()
        yield Trained(
            client_id=job.context.client_id,
            weights=weights[row],
            examples=report.examples,
            loss=losses[row],
            changed=report.changed,
        )


@dataclass(frozen=True, eq=False)
class _Batches:
    """Batches of all clients per step, as positions in one set of samples."""

    images: Tensor
    """The training set, followed by the poisoned samples of malicious clients, (m, c, h, w)."""
    labels: Tensor
    """(m,)"""
    index: Tensor
    """Positions in `images`, (steps, n, b). -1 pads batches shorter than the longest."""
    counts: list[int]
    """Number of steps per client, descending."""

    @classmethod
    def from_jobs(cls, jobs: Sequence[Job], plans: Sequence[Sequence[Tensor]], device: torch.device) -> Self:
        """Build the batches of these jobs on `device` from n plans of index vectors."""
        counts = [len(plan) for plan in plans]
        index = torch.full((counts[0], len(jobs), max(len(plan[0]) for plan in plans)), -1)
        begins: dict[Samples, int] = {}
        size = 0
        for place, (job, plan) in enumerate(zip(jobs, plans, strict=True)):
            if job.samples not in begins:
                begins[job.samples] = size
                size += len(job.samples)
            for step, batch in enumerate(plan):
                index[step, place, : len(batch)] = batch + begins[job.samples]
        images = [samples.images.to(device) for samples in begins]
        labels = [samples.labels.to(device) for samples in begins]
        return cls(
            images=images[0] if len(images) == 1 else torch.cat(images),
            labels=labels[0] if len(labels) == 1 else torch.cat(labels),
            index=index.to(device),
            counts=counts,
        )


def _train(trainer: Trainer, weights: Tensor, velocity: Tensor | None, data: _Batches) -> list[float]:
    """Train the rows of `weights` (n, d) in place and return the mean loss of each over its batches."""
    training, model = trainer.training, trainer.model
    layout = layout_of(model)
    names = [name for name, _ in layout]
    start = weights.clone() if training.proximal else weights

    def loss(parameters: dict[str, Tensor], images: Tensor, labels: Tensor, real: Tensor) -> Tensor:
        with arithmetic(training, trainer.device):
            logits = functional_call(model, parameters, (images,))
            values = cross_entropy(logits, labels, reduction="none")
        return (values * real).sum() / real.sum()

    gradients_of = vmap(grad_and_value(loss))
    totals = weights.new_zeros(len(weights))
    for step, positions in enumerate(data.index):
        active = sum(count > step for count in data.counts)
        index = positions[:active].clamp(min=0)
        real = (positions[:active] >= 0).to(weights.dtype)
        parameters = _rows(weights, layout, active)
        named = dict(zip(names, parameters, strict=True))
        gradients, values = gradients_of(named, data.images[index], data.labels[index], real)
        sgd_step(
            parameters,
            _rows(start, layout, active),
            [gradients[name] for name in names],
            [] if velocity is None else _rows(velocity, layout, active),
            training,
        )
        totals[:active] += values
    means: list[float] = (totals / torch.tensor(data.counts, device=totals.device)).tolist()
    return means


def _rows(matrix: Tensor, layout: Layout, count: int) -> list[Tensor]:
    """Return views of the first `count` rows of `matrix` (n, d) as parameters, (count, *shape) each."""
    parts = matrix[:count].split([shape.numel() for _, shape in layout], dim=1)
    return [part.view(count, *shape) for part, (_, shape) in zip(parts, layout, strict=True)]


def _velocity(job: Job, like: Tensor, training: LocalTraining) -> Tensor:
    """Return the client's momentum buffer (d,) at the start of the round."""
    kept = job.context.memory.get("momentum") if training.persistent_momentum else None
    return torch.zeros_like(like) if kept is None else kept.to(like.device)
