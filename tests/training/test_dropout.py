import pytest
import torch

from clients.training.dropout import Dropout, drawing
from clients.training.local_training import LocalTraining
from clients.training.trainer import Trainer
from fedpoison.models import MODELS, build


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def dropped(layer, values, seed=0):
    with drawing([layer], generator(seed)):
        return layer(values)


def test_what_is_kept_is_scaled_up_and_the_rest_is_zero():
    values = torch.rand(50, 40, generator=generator(1)) + 0.5
    after = dropped(Dropout(0.25), values)
    kept = after != 0
    torch.testing.assert_close(after[kept], values[kept] / 0.75)
    assert 0.7 < float(kept.float().mean()) < 0.8


def test_whole_channels_are_dropped():
    after = dropped(Dropout(0.5, channels=True), torch.ones(20, 8, 3, 3))
    sums = after.sum(dim=(2, 3)).flatten()
    assert set(sums.tolist()) == {0.0, 18.0}
    assert dropped(Dropout(0.5, channels=True), torch.ones(4, 8)).shape == (4, 8)


def test_it_draws_from_the_stream_that_it_is_given_and_from_no_other():
    layer, values = Dropout(0.5), torch.ones(10, 10)
    before = torch.random.get_rng_state()
    assert torch.equal(dropped(layer, values), dropped(layer, values))
    assert not torch.equal(dropped(layer, values), dropped(layer, values, seed=1))
    assert torch.equal(before, torch.random.get_rng_state())


def test_it_rests_without_a_stream_and_in_evaluation():
    layer, values = Dropout(0.5), torch.ones(10, 10)
    assert torch.equal(layer(values), values)
    assert torch.equal(dropped(layer.eval(), values), values)
    assert layer.generator is None


def test_a_model_with_dropout_trains_by_its_stream_alone(samples):
    model = build(MODELS["cnn-bucketing"], (1, 8, 8), 10, generator())
    trainer = Trainer(model, LocalTraining(batch_size=8))
    start = trainer.weights()

    def trained(seed):
        trainer.load(start)
        trainer.fit(samples, generator(seed))
        return trainer.weights()

    assert torch.equal(trained(3), trained(3))
    assert not torch.equal(trained(3), trained(4))
    assert torch.equal(trainer.predict(samples.images), trainer.predict(samples.images))


def test_with_a_seed_of_its_own_it_drops_the_same_in_every_step_of_everybody(samples):
    model = build(MODELS["cnn-bucketing"], (1, 8, 8), 10, generator())
    states = []

    def note(layer, _):
        if (
            layer.generator is not None
        ):  # None before the training, which looks whether the model draws globally
            states.append(layer.generator.get_state())

    for layer in model.modules():
        if isinstance(layer, Dropout):
            layer.register_forward_pre_hook(note)

    def drawn_from(stream, **changes):
        """Return where the stream stood before each layer, in each of three steps of eight samples."""
        states.clear()
        Trainer(model, LocalTraining(batch_size=8, steps=3, **changes)).fit(samples, generator(stream))
        return [tuple(state.tolist()) for state in states]

    seeded = drawn_from(1, dropout_seed=5)
    assert len(seeded) == 6
    assert seeded[:2] * 3 == seeded == drawn_from(2, dropout_seed=5)
    assert seeded[0] != seeded[1]
    assert seeded != drawn_from(1, dropout_seed=6)
    assert len(set(drawn_from(1))) == 6


def test_a_share_that_is_none_is_refused():
    with pytest.raises(ValueError, match="p: got 1, expected 0 or more and less than 1"):
        Dropout(1)
