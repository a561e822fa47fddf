"""The example that attacks a converged model."""

from experiments.examples import converged_backdoor


def test_a_backdoor_enters_a_trained_model_and_a_rule_keeps_it_out(tmp_path):
    found = converged_backdoor.attack(converged_backdoor.train(tmp_path, rounds=8), rounds=2)
    assert found["fedavg", "accuracy"][0] > 0.8
    assert found.iloc[0].groupby(level=1).nunique().tolist() == [1, 1]  # one model, whatever the strategy
    assert found["fedavg", "success"].max() > 0.8
    assert found["median", "success"].max() < 0.3
