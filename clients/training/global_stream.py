"""Models that draw from torch's global random stream, such as those with `torch.nn.Dropout`.

The global stream belongs to the process. Such a model trains in a context that seeds the stream from a named
one and restores it afterwards. Only one thread at a time is in a context.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_LOCK = threading.RLock()


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global random streams of the CPU and of `device`, and restore them afterwards."""
    accelerated = [device] if device.type == "cuda" else []
    with _LOCK, torch.random.fork_rng(devices=accelerated):
        torch.default_generator.manual_seed(seed)
        if accelerated:
            torch.cuda.manual_seed(seed)
        yield


def draws_globally(model: nn.Module, inputs: Tensor) -> tuple[bool, bool]:
    """Return whether the model draws from the global stream in training, and in evaluation.

    The function runs the model once in each mode, and restores its buffers and its mode.

    >>> draws_globally(nn.Dropout(0.5), torch.ones(2, 3))
    (True, False)

    Args:
        model: the model.
        inputs: at least one sample, (m, ...), on the model's device.
    """
    was_training = model.training
    kept = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    found = []
    with torch.no_grad():
        for training in (True, False):
            model.train(training)
            with seeded(0, inputs.device):
                before = _states(inputs.device)
                model(inputs if len(inputs) > 1 else torch.cat([inputs, inputs]))
                after = _states(inputs.device)
                found.append(any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)))
        for name, buffer in model.named_buffers():
            buffer.copy_(kept[name])
    model.train(was_training)
    return found[0], found[1]


def _states(device: torch.device) -> list[Tensor]:
    """Return the states of the global streams."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states
