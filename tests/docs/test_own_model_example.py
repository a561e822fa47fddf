"""The example of the page about own models."""

from experiments.examples.batch_norm_model import accuracies


def test_the_example_with_batch_normalisation_trains_under_attack():
    found = accuracies(rounds=6, train_samples=600)
    assert found["median, buffers=average"] > 0.25  # guessing gives 0.1
    assert found["median, buffers=local"] > 0.25
