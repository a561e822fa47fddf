"""What the records say of who attacked, and how far off the honest it was."""

import pytest
from threats import TWO, but

from fedpoison.fleet import Federation
from fedpoison.rounds import Round
from fedpoison.simulation import simulate
from fedpoison.store import StoredRun


def test_the_record_names_who_was_malicious_and_what_acted(small, tmp_path):
    scenario = but(small, rounds=3, participation=0.8, groups=TWO)
    history = simulate(scenario, out=tmp_path)
    federation = Federation.load(scenario)
    assert history.records[0].training.groups == []
    for record in history.records[1:]:
        training, number = record.training, record.round
        assert training.sampled == federation.attackers.sample(number)
        assert training.malicious == sorted(federation.attackers.malicious(number) & set(training.sampled))
        assert [group.attack for group in training.groups] == ["label-flip", "gaussian-update(std=0.5)"]
        assert [set(group.nodes) for group in training.groups] == [
            pool & set(training.sampled) for pool in federation.attackers.pools(number)
        ]
        assert [group.acted for group in training.groups] == [number > 1, True]
        assert training.acting == sorted(federation.attackers.acting(number) & set(training.sampled))
        assert Round.from_json(record.to_json()) == record
    assert StoredRun(history.path).history.records == list(history.records)


def test_distances_are_from_the_honest_mean(small, monkeypatch):
    from fedpoison import host  # noqa: PLC0415  # patched here

    taken = []

    def spied(updates, nodes, honest):
        taken.append((dict(zip(nodes, updates.double().numpy(), strict=True)), sorted(honest)))
        return deviations(updates, nodes, honest)

    deviations = host.deviations
    monkeypatch.setattr(host, "deviations", spied)
    history = simulate(but(small, rounds=2, groups=TWO))
    for record, (updates, honest) in zip(history.records[1:], taken, strict=True):
        training = record.training
        assert honest == sorted(set(range(10)) - set(training.acting))
        mean = sum(updates[node] for node in honest) / len(honest)
        for node, update in updates.items():
            norm, length = (update**2).sum() ** 0.5, (mean**2).sum() ** 0.5
            assert training.update_norms[node] == pytest.approx(norm, rel=1e-5)
            assert training.distances[node] == pytest.approx(((update - mean) ** 2).sum() ** 0.5, rel=1e-4)
            assert training.cosines[node] == pytest.approx(update @ mean / (norm * length), abs=1e-5)


def test_nothing_is_compared_where_nobody_is_honest(small):
    training = simulate(small.but(rounds=1, malicious=1.0, attack="sign-flip")).last.training
    assert training.distances == training.cosines == {}
    assert len(training.update_norms) == 10
