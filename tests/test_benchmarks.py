"""The benchmark of aggregation, on matrices that take no time."""

import sys

import pytest
import torch

from experiments.benchmarks import aggregation, attacks, peers
from fedpoison import registries
from fedpoison.registries import optimizers, preaggregators, strategies


@pytest.fixture
def table(monkeypatch, capsys):
    """Return a function that runs the benchmark and gives the rows of its table, by rule."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["aggregation", "--repeats", "1", "--threads", "1", *arguments])
        before = torch.get_num_threads()
        try:
            aggregation.main()
        finally:
            torch.set_num_threads(before)
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        return {row[2]: row for row in cells}

    return run


def test_every_rule_is_timed(table):
    rows = table("--n", "11", "--d", "200")
    assert set(strategies.entries()) < set(rows)
    for name in preaggregators.entries():
        assert f"{name} / fedavg" in rows
    for name in optimizers.entries():
        assert f"fedavg / {name}" in rows
    for rule, (n, d, *figures) in list(rows.items())[1:]:
        assert (n, d) == ("11", "200")
        assert figures[1].startswith("skipped: ") or all(float(figure) >= 0 for figure in figures[1:]), rule


def test_peers_run_in_turn_with_ours(table):
    pytest.importorskip("byzfl")
    rows = table("--n", "11", "--d", "200", "--rules", "krum, nnm | median", "--peers")
    assert rows["rule"][-3:] == ["ByzFL ms", "Flower ms", "quicker / ours"]
    assert all(float(figure) >= 0 for figure in rows["krum"][3:])
    byzfl, flower, ratio = rows["nnm / median"][-3:]
    assert float(byzfl) > 0
    assert flower == ""
    assert float(ratio) >= 0


def test_nothing_is_started_that_would_not_fit(table, monkeypatch):
    pytest.importorskip("byzfl")
    n, d = 11, 20_000
    monkeypatch.setattr(peers, "available_memory", lambda: 4 * n * d * 8)
    rows = table("--n", str(n), "--d", str(d), "--rules", "nnm | fedavg, fedavg", "--peers")
    assert rows["nnm / fedavg"][5] == "out of memory"
    assert float(rows["fedavg"][5]) >= 0
    monkeypatch.setattr(aggregation, "available_memory", lambda: 4 * n * d)
    assert table("--n", str(n), "--d", str(d), "--rules", "fedavg")["all"][3] == "out of memory"


@pytest.mark.parametrize("rule", ["fedavg", "median", "trimmed-mean", "krum", "multi-krum", "nnm | median"])
def test_peers_do_what_the_rule_does(rule):
    pytest.importorskip("byzfl")
    updates = torch.randn(11, 50, generator=torch.Generator().manual_seed(0))
    ours, byzantine = aggregation.tolerant(rule, 11)
    libraries = peers.peers(rule, updates, byzantine)
    assert libraries
    for peer in libraries:
        theirs = peer.run()
        theirs = torch.as_tensor(theirs[0] if isinstance(theirs, list) else theirs)
        if "krum" in rule and peer.library == "ByzFL":
            continue  # scores n - f - 1 neighbours where the paper has n - f - 2
        torch.testing.assert_close(theirs.float(), ours(updates).update, rtol=1e-4, atol=1e-5)


@pytest.fixture
def attack_rows(monkeypatch, capsys):
    """Return a function that runs the benchmark of attacks and gives the rows of its two tables."""

    def run(*arguments):
        size = ["--n", "11", "--d", "200", "--samples", "20", "--model", "mlp", "--repeats", "1"]
        monkeypatch.setattr(sys, "argv", ["attacks", *size, "--threads", "1", *arguments])
        before = torch.get_num_threads()
        try:
            attacks.main()
        finally:
            torch.set_num_threads(before)
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    return run


def test_every_attack_is_timed(attack_rows):
    rows = attack_rows("--rules", "median")
    assert {row[0] for row in rows} - {"attack"} == set(registries.attacks.entries()) - {"none"}
    by_name = {row[0]: row for row in rows if len(row) == 5}
    assert by_name["tailored"][1] == "median"
    assert by_name["alie"][1] == "-"
    for name, *cells in rows:
        figures = [cell for cell in cells if cell not in ("-", "", "median")]
        assert name == "attack" or all(float(figure) >= 0 for figure in figures), name


def test_attacks_that_know_the_rule_are_timed_against_each(attack_rows):
    rows = attack_rows("--rules", "krum, nnm | median", "--attacks", "optimal-ipm, ipm, pgd")
    assert [row[:2] for row in rows[1:4]] == [
        ["optimal-ipm", "krum"],
        ["optimal-ipm", "nnm / median"],
        ["ipm", "-"],
    ]
    assert [row[0] for row in rows[5:]] == ["pgd"]
