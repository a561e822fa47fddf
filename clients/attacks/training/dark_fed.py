"""DarkFed: a backdoor without training data, from synthetic images and updates that look benign."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, interpolate, mse_loss

from clients.attacks.base import AttackCard, AttackSetting, ClientContext, CraftContext, Knowledge, Range
from clients.attacks.data.backdoor import BACKDOOR_GOAL, Square, square_space
from clients.attacks.named_data import fit_pixels, training_pixels
from clients.bounds import NonNegative, OpenShare, Positive, PositiveCount, PositiveShare, Share
from clients.training import Samples, Trainer, trainable

BATCH = 64
"""Number of shadow images among which the reduction chooses."""
GRID = 5
"""Side of the random grid behind a texture."""


@dataclass(frozen=True, kw_only=True)
class DarkFed(Square):
    """Train a backdoor on synthetic images with the outputs of the global model, without any local data.

    Li, Wan, Ning, Hu, Xue, Zhang, Wang, "DarkFed: A Data-Free Backdoor Attack in Federated Learning", IJCAI
    2024. The attacker adds fake clients. Shadow images have the logits of the global model as targets, and
    those with the trigger a logit of `target` only. The loss is the squared error plus terms that make the
    update look benign. They are its length, and its squared cosines with the updates of the earlier fake
    clients and with the next step of the global model, as double exponential smoothing predicts it. The
    shadow images are reduced to those that differ, in pixels and outputs.
    """

    share: Share = 0.02
    """Share of the shadow images that carry the trigger."""
    shadow: Literal["noise", "texture", "vignette"] = "noise"
    """Shadow images: clipped normal noise, smooth random textures, or textures with a dark border."""
    dataset: str = ""
    """Data set of the shadow images, such as fashion-mnist or npz(path=shadow.npz), in place of synthetic
    ones. Its images get the shape of the clients' images. Built-in sets are read from FEDPOISON_DATA or the
    user's cache, and not downloaded."""
    images: PositiveCount = 500
    """Number of shadow images of a client, after the reduction."""
    keep: PositiveShare = 0.4
    """Share of the shadow images that the reduction keeps."""
    pace: Positive = 0.05
    """Learning rate, relative to local training."""
    logit: Positive = 10.0
    """Logit of `target` for images with the trigger. The others are -10 divided by the number of classes."""
    magnitude: NonNegative = 0.5
    """Weight of the length of the update in the loss."""
    direction: NonNegative = 0.5
    """Weight of the squared cosines in the loss."""
    smoothing: OpenShare = 0.8
    """Smoothing factor of the prediction, the weight of the latest model."""
    forecast: Literal["smoothing", "authors"] = "smoothing"
    """Prediction of the next model: double exponential smoothing, or the formula of the authors' code."""

    card = AttackCard(
        paper="Li et al., IJCAI 2024",
        knowledge=Knowledge.COLLUDING,
        trains=True,
        goal=BACKDOOR_GOAL,
        idle_when="share is 0",
        deviations="Losses and numbers are those of the authors' code. Its prediction has misplaced "
        "parentheses: 2 - 2a in place of (2 - a) / (1 - a). That is `forecast=authors`. The code measures "
        "cosines in the output layer, here all weights count. The code starts from a trained model, whose "
        "outputs it stores once, and lowers the learning rate within a round. Here the outputs are those of "
        "each round, at a constant rate. The authors' shadow images are another data set (GTSRB for CIFAR, "
        "see `dataset`) or noise. Fake clients are the malicious clients of the federation.",
    )
    search_space = square_space(
        pace=Range(low=0.01, high=1.0, log=True),
        magnitude=Range(low=0.01, high=1.0, log=True),
        shadow=("noise", "texture", "vignette"),
    )

    def check(self, setting: AttackSetting) -> None:
        setting.require_images()
        if self.dataset:
            fit_pixels(training_pixels(self.dataset)[:1], setting.samples.images.shape[1:])
        super().check(setting)

    def poison_data(self, samples: Samples, trainer: Trainer, context: ClientContext) -> Samples:
        """Replace the samples by shadow images with the classes that the global model predicts."""
        generator = context.poison_generator
        drawn = samples.with_pixels(self._shadow(samples.images, generator)).images
        logits = trainer.predict(drawn)
        start = int(torch.randint(BATCH, (), generator=generator))
        kept = reduced(drawn, logits, self.keep, start)[: self.images]
        shadows = replace(
            samples, images=drawn[kept], labels=logits[kept].argmax(dim=1), poisoned=None, clients=None
        )
        return super().poison_data(shadows, trainer, context)

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        attacker = context.require_training()
        model = context.model.to(own)
        step = self._predicted_step(context)
        mimicked = [] if step is None else [step.to(own)]
        sent: list[Tensor] = []
        for client_id in context.client_ids:
            samples = attacker.samples(client_id)
            trainer = attacker.trainer()
            self._train(trainer, samples, mimicked + sent, context)
            sent.append(trainer.weights().to(own) - model)
        return torch.stack(sent)

    def _train(
        self, trainer: Trainer, samples: Samples, mimicked: list[Tensor], context: CraftContext
    ) -> None:
        stamped = samples.poison_mask()
        targets = trainer.predict(samples.images).clone()
        targets[stamped] = -10.0 / samples.classes
        targets[stamped, self.target] = self.logit
        start = trainer.weights()
        others = torch.stack(mimicked).to(start) if mimicked else start.new_zeros(0, len(start))

        def loss(model: nn.Module, images: Tensor, positions: Tensor) -> Tensor:
            update = torch.cat([parameter.reshape(-1) for parameter in trainable(model).values()]) - start
            outputs, wanted, with_trigger = model(images), targets[positions], stamped[positions]
            value: Tensor = self.magnitude * torch.linalg.vector_norm(update)
            for part in (with_trigger, ~with_trigger):
                if part.any():
                    value = value + mse_loss(outputs[part], wanted[part])
            return value + self.direction * cosine_similarity(update[None], others).square().sum()

        training = replace(
            trainer.training.with_lr_times(self.pace), momentum=0.0, weight_decay=0.0, proximal=0.0
        )
        numbered = samples.with_labels(torch.arange(len(samples)))  # the loss needs positions, not classes
        trainer.fit(numbered, context.generator, training=training, loss=loss)

    def _predicted_step(self, context: CraftContext) -> Tensor | None:
        """Return the predicted next step of the global model (d,). None in the attacker's first round."""
        memory, model = context.memory, context.model
        first = "smooth" not in memory
        a = self.smoothing
        smooth = model if first else a * model + (1 - a) * memory["smooth"]
        memory["twice"] = smooth.clone() if first else a * smooth + (1 - a) * memory["twice"]
        memory["smooth"] = smooth.clone()
        if first:
            return None
        weight = (2 - a) / (1 - a) if self.forecast == "smoothing" else 2 - 2 * a
        return weight * memory["smooth"] - memory["twice"] / (1 - a) - model

    def _shadow(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Return shadow images (m, c, h, w) in [0, 1], in the form of the images `like` (n, c, h, w)."""
        batches = -(-self.images // max(1, int(self.keep * BATCH)))
        shape = (batches * BATCH, *like.shape[1:])
        if self.dataset:
            pixels = training_pixels(self.dataset)
            drawn = torch.randperm(len(pixels), generator=generator)[: shape[0]]
            return fit_pixels(pixels[drawn], like.shape[1:]).to(like)
        if self.shadow == "noise":
            return (0.5 + torch.randn(shape, generator=generator)).clamp(0, 1).to(like)
        grid = torch.rand(*shape[:2], GRID, GRID, generator=generator)
        smooth = interpolate(grid, size=shape[2:], mode="bilinear", align_corners=True)
        textures = (0.5 + 3 * (smooth - 0.5)).clamp(0, 1).to(like)
        if self.shadow == "vignette":
            rows, columns = (torch.sin(torch.pi * (torch.arange(side) + 0.5) / side) for side in shape[2:])
            textures *= (rows[:, None] * columns).to(like)
        return textures


def reduced(images: Tensor, outputs: Tensor, keep: float, start: int) -> Tensor:
    """Return the positions of a share `keep` of each batch of images, such that each differs from the last.

    In a batch, the next image is the one with the smallest product of two cosines with the last one, of the
    pixels and of the outputs.

    Args:
        images: (m, c, h, w).
        outputs: logits, (m, k).
        keep: share of each batch, rounded down to at least one image.
        start: position in a batch from which the first image is to differ.
    """
    kept = []
    for first in range(0, len(images), BATCH):
        flat, logits = images[first : first + BATCH].flatten(1), outputs[first : first + BATCH]
        unit, direction = (torch.nn.functional.normalize(each, dim=1) for each in (flat, logits))
        alike = (unit @ unit.T) * (direction @ direction.T)
        last = start % len(flat)
        for _ in range(max(1, int(keep * len(flat)))):
            last = int(alike[last].argmin())
            kept.append(first + last)
            alike[:, last] = 1
    return torch.tensor(kept)
