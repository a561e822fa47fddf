"""What tests of attacks on data and training poison with: a context, and what an attack makes of it."""

import numpy as np
import torch

from clients.attacks.base import ClientContext
from clients.training.parameters import layout_of


def build_context(trainer, **parameters):
    values = {
        "generator": torch.Generator().manual_seed(1),
        "poison_generator": torch.Generator().manual_seed(2),
        "model": trainer.weights(),
        "layout": layout_of(trainer.model),
    }
    return ClientContext(**(values | parameters))


def trained(attack, trainer, samples, **parameters):
    """Return the weights and the loss of `attack` on `samples`, without any poisoning of its own."""
    context = build_context(trainer, **parameters)
    trainer.load(context.model)
    loss = attack.train(trainer, samples, context)
    return trainer.weights(), loss


def poisoned_by(attack, samples, trainer, **parameters):
    return attack.poison_data(samples, trainer, build_context(trainer, **parameters))


def arrays(samples):
    return samples.images.flatten(1).double().numpy(), samples.labels.numpy()


def linear(trainer):
    weight, bias = (parameter.detach().double().numpy().copy() for parameter in trainer.parameters)
    return weight, bias


def flat(weight, bias):
    return np.concatenate([weight.ravel(), bias.ravel()])
