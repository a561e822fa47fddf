"""Attacks in a Flower app: who is malicious, what an attack sees, and which attacks go where."""

from __future__ import annotations

import pytest
import torch
from flwr.app import Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg
from hand_messages import NODES, HandGrid, begin, client_context, failure, flat, record, reply

from clients.attacks.base import Attack, AttackCard, Knowledge
from fedpoison import attacks
from fedpoison.errors import CrashError, ScenarioError
from fedpoison.flower import AttackedStrategy, RobustStrategy, poison_dataset, update_mod
from fedpoison.flower.malicious import Malicious
from fedpoison.scenario.scenario import Scenario

MODEL = {"w": torch.zeros(3), "norm.running_mean": torch.ones(2), "steps": torch.tensor(4)}


def trained(node):
    return {
        "w": torch.full((3,), float(node)),
        "norm.running_mean": torch.ones(2) * node,
        "steps": torch.tensor(node),
    }


class Seen(FedAvg):
    """Keeps the arrays of the replies that it gets."""

    def aggregate_train(self, server_round, replies):
        replies = list(replies)
        self.arrays = {
            each.metadata.src_node_id: each.content["arrays"] for each in replies if each.has_content()
        }
        return super().aggregate_train(server_round, replies)


def attacked(attack, inner=None, **options):
    return AttackedStrategy(inner or Seen(fraction_evaluate=0.0), attack, **options)


def run_round(strategy, nodes=NODES[:5], server_round=1, **metrics):
    sent = begin(strategy, MODEL, server_round=server_round, grid=HandGrid(nodes))
    replies = [
        reply(message, trained(node), **{name: value(node) for name, value in metrics.items()})
        for node, message in sent.items()
    ]
    return strategy.aggregate_train(server_round, replies)


def sent_weights(strategy):
    return {node: arrays["w"].numpy()[0] for node, arrays in strategy.wrapped.arrays.items()}


def test_only_updates_of_malicious_clients_change_and_no_buffers():
    strategy = attacked("sign-flip", nodes=[3, 5])
    run_round(strategy)
    assert sent_weights(strategy) == {2: 2, 3: -3, 4: 4, 5: -5, 6: 6}
    assert strategy.malicious == {3, 5}
    for node, arrays in strategy.wrapped.arrays.items():
        assert arrays["norm.running_mean"].numpy().tolist() == [node, node]
        assert arrays["steps"].numpy() == node


@pytest.mark.parametrize(
    ("attack", "rule"),
    [
        ("mimic(warmup=2)", "foolsgold"),
        ("poisoned-fl", "median | adam"),
        ("free-rider(noise=0.1)+gaussian-update(mode=add)", "afa"),
        ("mpaf", None),
    ],
)
def test_the_memory_of_an_attack_continues_after_a_restart(attack, rule):
    nodes = [3, 2**63 + 1, 5, 6, 7, 8]

    def strategy():
        inner = FedAvg(fraction_evaluate=0.0)
        inner = inner if rule is None else RobustStrategy(inner, rule, byzantine=1, seed=3)
        return attacked(attack, inner, nodes=[3, 2**63 + 1], seed=5)

    def run(strategy, numbers, model, start=1):
        for number in numbers:
            sent = begin(strategy, model, server_round=number - start + 1, grid=HandGrid(nodes))
            moved = {"w": torch.arange(6.0)}
            replies = [
                reply(message, {"w": moved["w"] * 0.1 * number + node % 9})
                for node, message in sorted(sent.items())  # Flower draws the order
            ]
            model, _ = strategy.aggregate_train(number - start + 1, replies)
        return model

    start = record({"w": torch.linspace(-1, 1, 6)})
    whole = run(strategy(), (1, 2, 3, 4), start)
    first, second, forgetful = strategy(), strategy(), strategy()
    model = run(first, (1, 2), start)
    state = first.state_dict()
    assert all(isinstance(kept, torch.Tensor) for kept in state.values())
    second.load_state_dict(state)
    assert second.malicious == {3, 2**63 + 1}
    assert torch.equal(flat(run(second, (3, 4), model, start=3)), flat(whole))
    assert not torch.equal(flat(run(forgetful, (3, 4), model, start=3)), flat(whole))
    assert int(second.state_dict()["round"]) == 4


@pytest.mark.parametrize("entry", ['memory: ["Mimic()", null, "mean"]', "strategy: round", "other"])
def test_a_state_of_another_attack_is_refused(entry):
    state = attacked("sign-flip", nodes=[2]).state_dict()
    with pytest.raises(ScenarioError, match="expected the entries of AttackedStrategy.*SignFlip"):
        attacked("sign-flip", nodes=[2]).load_state_dict(state | {entry: torch.ones(1)})


def test_a_failed_or_broken_reply_passes_unchanged():
    strategy = attacked("sign-flip", nodes=[2, 3])
    sent = begin(strategy, MODEL, grid=HandGrid(NODES[:3]))
    strategy.aggregate_train(1, [failure(sent[2]), reply(sent[3], trained(3)), reply(sent[4], trained(4))])
    assert sent_weights(strategy) == {3: -3, 4: 4}


def test_a_share_is_exact_and_depends_on_seed_and_node_ids_only():
    nodes = [17 * n**9 % 2**64 for n in range(2, 42)]
    one, again, other = (Malicious.read(0.25, (), seed).of_nodes(nodes) for seed in (0, 0, 1))
    assert len(one) == len(other) == 10
    assert one == again == Malicious.read(0.25, (), 0).of_nodes(nodes[::-1])
    assert one != other


def test_partitions_that_are_malicious_are_those_of_a_scenario_and_of_the_clients():
    who = Malicious.read(0.3, (), 7)
    expected = sorted(Scenario(clients=20, malicious=0.3, seed=7).selection.malicious(1))
    assert who.of_partitions(20) == expected
    places = [who.place_of(client_context(number, 20, node_id=900 + number)) for number in range(20)]
    assert [number for number, place in enumerate(places) if place] == expected
    assert [place.rank for place in places if place] == list(range(6))


def test_reported_partitions_decide_on_the_server():
    strategy = attacked("sign-flip", malicious=0.4, seed=7)
    nodes = [50, 40, 30, 20, 10]
    run_round(strategy, nodes, **{"partition-id": nodes.index, "num-partitions": lambda _: 5})
    chosen = Malicious.read(0.4, (), 7).of_partitions(5)
    assert strategy.malicious == {nodes[number] for number in chosen}


def test_a_list_can_contain_partitions():
    strategy, nodes = attacked("sign-flip", nodes=[0, 4, 30]), [50, 40, 30, 20, 10]
    run_round(strategy, nodes, **{"partition-id": nodes.index, "num-partitions": lambda _: 5})
    assert strategy.malicious == {50, 10, 30}
    with pytest.raises(ScenarioError, match="none of which is a node id"):
        run_round(attacked("sign-flip", nodes=[0]))


class Looks(Attack):
    """Keeps what it sees."""

    card = AttackCard(paper="-", knowledge=Knowledge.OMNISCIENT, knows_rule=True)

    def craft(self, own, seen, context):
        Looks.seen = own[:, 0].tolist(), seen[:, 0].tolist(), context
        Looks.aggregate = context.rule(torch.cat([own, seen]))
        return own.clone()


def test_an_attack_sees_what_its_card_declares():
    robust = RobustStrategy(FedAvg(fraction_evaluate=0.0), "trimmed-mean(byzantine=1)")
    strategy = attacked(Looks(), robust, nodes=[2, 6])
    run_round(strategy)
    own, honest, context = Looks.seen
    assert (own, honest) == ([2, 6], [3, 4, 5])
    assert context.tolerated == 1
    assert context.rule_kind == "by coordinate"
    assert (context.clients, context.malicious, context.previous_model) == (5, 2, None)
    assert Looks.aggregate[0] == 4
    run_round(strategy, server_round=2)
    assert torch.equal(Looks.seen[2].previous_model, torch.zeros(3))


def test_an_attack_that_raises_stops_the_run():
    class Fails(Attack):
        card = AttackCard(paper="-")

        def craft(self, own, seen, context):
            raise KeyError("gone")

    with pytest.raises(CrashError, match=r"round 1, attack .*KeyError"):
        run_round(attacked(Fails(), nodes=[2]))


def test_an_attack_that_needs_a_rule_waits_for_enough_replies():
    robust = RobustStrategy(FedAvg(fraction_evaluate=0.0), "krum(byzantine=2)")
    strategy = attacked("fang-krum", robust, nodes=[2])
    run_round(strategy)
    assert strategy.malicious == set()


def train(message, context):
    return reply(message, trained(context.node_id))


def through(mod, context, *, node=5, kind="train", call=train):
    strategy = Seen(fraction_evaluate=0.0)
    message = begin(strategy, MODEL, grid=HandGrid([node, 99]))[node]
    message.metadata.__dict__["_message_type"] = kind
    return mod(message, context, call)


def test_a_mod_attacks_the_update_of_a_malicious_client_only():
    mod = update_mod("scaled-update(factor=10)", nodes=[5])
    malicious = through(mod, client_context(node_id=5)).content["arrays"]
    assert malicious["w"].numpy().tolist() == [50, 50, 50]
    assert malicious["norm.running_mean"].numpy().tolist() == [5, 5]
    honest = through(mod, client_context(node_id=6), node=6).content["arrays"]
    assert honest["w"].numpy().tolist() == [6, 6, 6]


def test_a_mod_passes_other_messages_and_failures():
    mod = update_mod("sign-flip", nodes=[5])
    context = client_context(node_id=5)
    assert through(mod, context, kind="evaluate").content["arrays"]["w"].numpy()[0] == 5
    assert through(mod, context, kind="train.fast").content["arrays"]["w"].numpy()[0] == -5
    assert through(mod, context, call=lambda message, _: failure(message)).has_error()


def test_a_mod_remembers_across_rounds_in_the_state_of_the_client():
    """A free rider sends no step in round 1, and then the last step of the global model."""
    mod = update_mod("free-rider(base=last, noise=0)", nodes=[5])
    context = client_context(node_id=5)
    through(mod, context)
    strategy = Seen(fraction_evaluate=0.0)
    moved = {**MODEL, "w": torch.full((3,), 4.0)}
    message = begin(strategy, moved, server_round=2, grid=HandGrid([5, 99]))[5]
    answered = mod(message, context, train)
    assert answered.content["arrays"]["w"].numpy().tolist() == [8, 8, 8]


def test_a_mod_counts_rounds_that_the_message_does_not_name():
    rounds = []

    class Counts(Attack):
        card = AttackCard(paper="-")

        def craft(self, own, seen, context):
            rounds.append(context.round)
            return own

    mod, context = update_mod(Counts(), nodes=[5]), client_context(node_id=5)
    message = begin(Seen(fraction_evaluate=0.0), MODEL, grid=HandGrid([5, 99]))[5]
    message.content = RecordDict({"arrays": message.content["arrays"]})
    for _ in range(3):
        mod(message, context, train)
    assert rounds == [1, 2, 3]


def test_a_client_without_a_partition_needs_a_list():
    with pytest.raises(ScenarioError, match="num-partitions=4"):
        through(update_mod("sign-flip", malicious=0.5), client_context(node_id=5))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: update_mod("alie", malicious=0.2), "colluding knowledge.*AttackedStrategy"),
        (lambda: update_mod("mimic+fang-krum", malicious=0.2), "AttackedStrategy"),
        (lambda: update_mod("label-flip", malicious=0.2), "poison_dataset"),
        (lambda: update_mod("neurotoxin", malicious=0.2), "local training"),
        (lambda: update_mod("sign-flip"), "one of the two"),
        (lambda: update_mod("sign-flip", malicious=0.2, nodes=[1]), "one of the two"),
        (lambda: update_mod("sign-flip", malicious=20), "from 0 to 1"),
        (lambda: attacked("label-flip+alie", malicious=0.2), "poison_dataset"),
        (lambda: attacked("chameleon", malicious=0.2), "local training"),
        (lambda: attacked("fang-krum", malicious=0.2), "wrap a RobustStrategy"),
        (lambda: attacked("aile", malicious=0.2), "did you mean 'alie'"),
        (lambda: attacked(attacks.Alie, malicious=0.2), "expected a text"),
        (lambda: poison_dataset(None, "alie", node=0, nodes=[0]), "AttackedStrategy"),
        (lambda: poison_dataset(None, "pgd", node=0, nodes=[0]), "local training"),
    ],
)
def test_an_attack_in_the_wrong_place_names_the_right_one(made, words):
    with pytest.raises(ScenarioError, match=words):
        made()


def test_a_composite_of_update_attacks_runs_part_after_part():
    strategy = attacked("sign-flip+scaled-update(factor=2)", nodes=[3])
    run_round(strategy)
    assert sent_weights(strategy)[3] == -6


def test_no_attack_is_honest():
    strategy = attacked("none", nodes=[3])
    run_round(strategy)
    assert sent_weights(strategy)[3] == 3
    assert strategy.malicious == set()


def test_the_model_before_the_attack_can_be_a_message_with_metrics_only():
    """A client without arrays is dropped by the rule, and not attacked."""
    strategy = attacked("sign-flip", RobustStrategy(FedAvg(fraction_evaluate=0.0), "median"), nodes=[2])
    sent = begin(strategy, MODEL, grid=HandGrid(NODES[:3]))
    bare = Message(RecordDict({"metrics": MetricRecord({"num-examples": 1})}), reply_to=sent[2])
    arrays, _ = strategy.aggregate_train(1, [bare, reply(sent[3], trained(3)), reply(sent[4], trained(4))])
    assert strategy.malicious == set()
    assert flat(arrays)[0] == 3.5
    assert flat(record(trained(3)))[0] == 3
