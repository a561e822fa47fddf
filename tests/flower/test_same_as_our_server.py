"""In a Flower app, rules and attacks give bit for bit what they give in fedpoison's own simulation."""

from __future__ import annotations

import pytest
import torch
from flwr.serverapp.strategy import FedAvg
from hand_messages import HandGrid, begin, client_context, reply

from clients import ATTACKS
from clients.attacks.base import Knowledge, NoAttack, crafts_updates
from clients.attacks.composite import poisons_data, replaces_training
from clients.training.parameters import split
from clients.training.trainer import Trainer
from fedpoison.errors import ScenarioError
from fedpoison.federation.adversary import AdversaryGrid
from fedpoison.federation.federation import Federation
from fedpoison.federation.grids import WrappedGrid
from fedpoison.federation.messages import from_record, to_record
from fedpoison.federation.server_strategy import SimulationStrategy
from fedpoison.federation.workers import Workers
from fedpoison.flower import AttackedStrategy, RobustStrategy, poison_dataset, update_mod
from fedpoison.flower.attack_argument import read_data_attack, read_update_attack
from fedpoison.scenario.registries import optimizers, preaggregators, strategies
from fedpoison.scenario.scenario import Scenario

CLIENTS, ROUNDS, SHARE = 10, 3, 0.3
PIPELINES = [
    *(name if name != "deepsight" else "deepsight(images=50)" for name in strategies.entries()),
    *(f"{name} | trimmed-mean" for name in preaggregators.entries()),
    *(f"median | {name}" for name in optimizers.entries()),
    "clipping | bucketing | foolsgold | adam",
]


def kinds(read):
    """Return the names of the attacks that a function accepts."""
    found = []
    for name, attack in ATTACKS.items():
        try:
            read(attack())
        except ScenarioError:
            continue
        found.append(name)
    return found


UPDATE_ATTACKS = [name for name in kinds(read_update_attack) if name != "none"]
DATA_ATTACKS = [name for name in kinds(read_data_attack) if name != "none"]
ON_IMAGES = [name for name in DATA_ATTACKS if not ATTACKS[name].card.on_tokens]


@pytest.fixture(scope="module")
def scenario():
    return Scenario(
        dataset="digits", train_samples=200, test_samples=50, clients=CLIENTS, model="mlp-small",
        malicious=SHARE, tolerated=1, root_samples=20, seed=4,
    )  # fmt: skip


@pytest.fixture(scope="module")
def workers(scenario):
    federation = Federation.load(scenario)
    with Workers(federation.model, scenario.training, 1) as pool:
        yield pool


def trained(federation, server_round, client_id):
    """Return the weights of a client in a round: a shared direction and noise."""
    d = len(federation.initial)

    def drawn(name):
        return torch.randn(d, generator=torch.Generator().manual_seed(1000 * server_round + name))

    return federation.initial + 0.02 * (drawn(999) + drawn(client_id))


def named(federation, weights):
    parts = split(weights, federation.layout)
    return {name: part for (name, _), part in zip(federation.layout, parts, strict=True)}


def replies_of(federation, server_round, messages):
    """Return a reply of each client, in an order that is not that of the clients."""
    found = []
    for node_id, message in sorted(messages.items(), reverse=True):
        client_id = node_id - 2
        metrics = {"partition-id": client_id, "num-partitions": CLIENTS} if client_id >= 0 else {}
        arrays = named(federation, trained(federation, server_round, client_id))
        found.append(reply(message, arrays, examples=20 + client_id, **metrics))
    return found


def on_our_server(federation, workers):
    return SimulationStrategy(federation, {c + 2: c for c in range(CLIENTS)}, workers)


def our_replies(replies):
    """Return the replies as our own clients send them: without the partition among many."""
    for each in replies:
        del each.content["metrics"]["num-partitions"]
    return replies


def robust_as(federation, own, rule):
    """Return a robust strategy with the root data and the model of our own server."""
    aggregator, layout = own.aggregator, federation.layout

    def train_on_root(arrays):
        model = from_record(arrays, layout)
        return to_record(model + aggregator._train_on_root(own.server_round, model), layout)

    def gradient(arrays, images, labels):
        loss, flat = aggregator._gradient(from_record(arrays, layout), images, labels)
        return loss, to_record(flat, layout)

    return RobustStrategy(
        FedAvg(fraction_evaluate=0.0), rule, byzantine=1, seed=federation.scenario.seed,
        train_on_root=train_on_root, root_images=federation.root.images, image_shape=(1, 28, 28),
        root_labels=federation.root.labels, gradient=gradient,
        predict=lambda arrays, images: aggregator._predict(from_record(arrays, layout), images),
    )  # fmt: skip


@pytest.mark.parametrize("rule", PIPELINES)
def test_a_rule_gives_the_model_of_our_server(rule, scenario, workers):
    federation = Federation.load(scenario.replace(strategy=rule))
    own, grid = on_our_server(federation, workers), HandGrid()
    theirs = robust_as(federation, own, rule)
    model = to_record(own.model, federation.layout)
    arrays = model
    for server_round in range(1, ROUNDS + 1):
        own.server_round = server_round
        sent = begin(own, model, server_round=server_round, grid=grid)
        model, _ = own.aggregate_train(server_round, our_replies(replies_of(federation, server_round, sent)))
        sent = begin(theirs, arrays, server_round=server_round, grid=grid)
        arrays, metrics = theirs.aggregate_train(server_round, replies_of(federation, server_round, sent))
        assert torch.equal(from_record(arrays, federation.layout), own.model)
        last = theirs.rounds.query("round == @server_round")
        assert dict(zip(last["node"] - 2, last["trust"], strict=True)) == own.report.trust
        assert dict(zip(last["node"] - 2, last["norm"], strict=True)) == pytest.approx(
            own.report.update_norms
        )
        assert metrics["rejected"] == sum(share == 0 for share in own.report.trust.values())


class Replayed(WrappedGrid):
    """A grid that returns given replies."""

    def __init__(self, replies):
        self.replies = replies

    def send_and_receive(self, messages, *, timeout=None):
        list(messages)
        return self.replies


def flat_record(arrays, federation):
    return torch.cat([torch.from_numpy(arrays[name].numpy()).flatten() for name, _ in federation.layout])


def equal(first, second):
    return torch.equal(first.nan_to_num(7), second.nan_to_num(7))


class Recorder(RobustStrategy):
    """Keeps the replies as the attacked strategy passes them on."""

    seen = None

    def aggregate_train(self, server_round, replies):
        self.seen = {each.metadata.src_node_id: each.content["arrays"] for each in replies}
        return super().aggregate_train(server_round, replies)


@pytest.mark.parametrize("attack", UPDATE_ATTACKS)
def test_an_attack_sends_the_updates_of_our_simulation(attack, scenario, workers):
    """Of the server's attacker, and of the clients' mod if the attack needs only the own update."""
    federation = Federation.load(scenario.replace(attack=attack, strategy="trimmed-mean"))
    own = on_our_server(federation, workers)
    adversary = AdversaryGrid(Replayed([]), federation, own._client_ids, own.known_rule)
    robust = Recorder(FedAvg(fraction_evaluate=0.0), "trimmed-mean(byzantine=1)", seed=scenario.seed)
    theirs = AttackedStrategy(robust, attack, malicious=SHARE, seed=scenario.seed)
    answer = attacking_clients(attack, scenario) if ATTACKS[attack].card.knowledge is Knowledge.OWN else None
    model, grid = to_record(own.model, federation.layout), HandGrid()
    arrays = model
    malicious = federation.selection.malicious(1)
    for server_round in range(1, ROUNDS + 1):
        sent = begin(own, model, server_round=server_round, grid=grid)
        adversary.inner.replies = our_replies(replies_of(federation, server_round, sent))
        replies = list(adversary.send_and_receive(sent.values()))
        expected = {
            each.metadata.src_node_id: flat_record(each.content["arrays"], federation) for each in replies
        }
        model, _ = own.aggregate_train(server_round, replies)
        sent = begin(theirs, arrays, server_round=server_round, grid=grid)
        arrays, _ = theirs.aggregate_train(server_round, replies_of(federation, server_round, sent))
        for node_id, weights in expected.items():
            assert equal(flat_record(robust.seen[node_id], federation), weights)
            assert answer is None or equal(answer(node_id, sent[node_id], federation, server_round), weights)
            honest = equal(weights, trained(federation, server_round, node_id - 2))
            assert honest or node_id - 2 in malicious
        assert {node_id - 2 for node_id in theirs.malicious} == malicious


def attacking_clients(attack, scenario):
    """Return a function that gives the weights that a client with the mod replies with."""
    mod = update_mod(attack, malicious=SHARE, seed=scenario.seed)
    contexts = {c + 2: client_context(c, CLIENTS, node_id=c + 2) for c in range(CLIENTS)}

    def answer(node_id, message, federation, server_round):
        def train(asked, _context):
            return reply(asked, named(federation, trained(federation, server_round, node_id - 2)))

        answered = mod(message, contexts[node_id], train)
        return flat_record(answered.content["arrays"], federation)

    return answer


@pytest.mark.parametrize("attack", ON_IMAGES)
def test_an_attack_poisons_data_as_in_our_simulation(attack, scenario):
    spec = attack if attack != "clean-label" else "clean-label(source=0, target=1)"
    federation = Federation.load(scenario.replace(attack=spec, model="mlp-small"))
    model = federation.model()
    for client_id in range(CLIENTS):
        job = federation.job(client_id, 1, federation.initial, None, {})
        own = job.own()
        expected = job.attack.poison_data(own, Trainer(federation.model(), scenario.training), job.context)
        inputs, labels = poison_dataset(
            (own.images, own.labels), spec, node=client_id, partitions=CLIENTS, malicious=SHARE,
            seed=scenario.seed, classes=10, mean=own.mean, std=own.std, model=model,
        )  # fmt: skip
        honest = isinstance(job.attack, NoAttack)
        assert (inputs is own.images) == honest
        assert torch.equal(inputs, expected.images)
        assert torch.equal(labels, expected.labels)


def test_every_other_attack_replaces_the_training_or_changes_data_and_update():
    both = set(UPDATE_ATTACKS) & set(DATA_ATTACKS)
    left = set(ATTACKS) - set(UPDATE_ATTACKS) - set(DATA_ATTACKS) - {"none", "claimed-examples"}
    assert not both
    for name in left:
        attack = ATTACKS[name]()
        assert replaces_training(attack) or (poisons_data(attack) and crafts_updates(attack))
        with pytest.raises(ScenarioError, match=r"fedpoison\.simulate"):
            read_update_attack(attack)
