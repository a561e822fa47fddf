"""A small protocol on the digits of scikit-learn, whose audit takes seconds, and cards without any run."""

from dataclasses import replace

from fedpoison.audits.card import AuditCard
from fedpoison.audits.card_parts import Attacked, Breakdown, Clean, Measured
from fedpoison.audits.protocol import Budget, Protocol, ProtocolAttack
from fedpoison.audits.setting import VARIED
from fedpoison.scenario.scenario import Scenario

SCALED = ProtocolAttack(
    attack="scaled-update(factor={strength})",
    threat="untargeted",
    family="crude",
    strengths=(-30.0, -5.0, -1.0),
)
IPM = ProtocolAttack(
    attack="ipm(epsilon={strength})",
    threat="untargeted",
    family="hidden",
    strengths=(0.1, 2.0),
    less_knowledge="colluding",
)
FLIP = ProtocolAttack(
    attack="label-flip(mode=targeted, source={source}, target={target})", threat="targeted", family="data"
)
BACKDOOR = ProtocolAttack(attack="backdoor(target={target})", threat="backdoor", family="static")
BUDGET = Budget(
    seeds=2,
    tuning_seeds=1,
    tuned_shares=(0.2,),
    finalists={"untargeted": 1, "targeted": 1, "backdoor": 1},
    refinements=1,
)
TINY = Protocol(
    name="tiny",
    settings={
        "dataset": "digits",
        "rounds": 4,
        "evaluate_every": 4,
        "train_samples": 800,
        "validation_samples": 200,
        "model": "mlp-small",
        "clients": 10,
        "batch_size": 8,
        "lr": 0.1,
        "epochs": 2,
    },
    partitions={"iid": "iid", "skewed": "dirichlet(alpha=0.5)"},
    shares=(0.2, 0.4),
    headline_share=0.2,
    attacks=(SCALED, IPM, FLIP, BACKDOOR),
    budgets={"quick": BUDGET},
)
UNTARGETED = replace(TINY, name="untargeted", attacks=(SCALED,), partitions={"iid": "iid"}, shares=(0.2,))
"""A smaller protocol: one attack on one partition with one share."""


def made_card(strategy="krum", *, clean=0.9, worst=0.5, success=0.3, breakdown=0.25, **changes):
    """Return a card with these numbers at each share of `TINY`, without any run."""
    attacked, unharmed = [], []
    for partition in TINY.partitions:
        for share in TINY.shares:
            unharmed.append(_clean(partition, share, clean))
            for threat in ATTACKS:
                harmed = worst if threat == "untargeted" else clean
                hit = None if threat == "untargeted" else success
                attacked.append(_attacked(threat, partition, share, harmed, hit))
    settings = Scenario.parse({**TINY.settings, "strategy": strategy}).content()
    fields = {
        "strategy": strategy,
        "protocol": TINY.name,
        "budget": "quick",
        "headline_share": TINY.headline_share,
        "worst_accuracy": worst,
        "worst_class_accuracy": 0.1,
        "backdoor_success": success,
        "targeted_success": success,
        "clean_accuracy": clean,
        "robustness_cost": 0.0,
        "breakdown_share": breakdown,
        "breakdown": Breakdown(
            share=breakdown, low=0.2, high=0.4, text=f"{100 * breakdown:g} [20, 40]", islands=[]
        ),
        "dataset": "digits",
        "model": "mlp-small",
        "settings": {name: value for name, value in settings.items() if name not in VARIED},
        "changed_settings": [],
        "protocol_digest": TINY.digest,
        "version": "0",
        "seeds": [0, 1],
        "tuning_seeds": [1000],
        "tries": 4,
        "runs": 20,
        "clean": unharmed,
        "attacked": attacked,
        "tried": [],
        "undefined": {},
        "left_out": {},
        "flags": [],
        "classes": [],
        "seconds_per_round": {"train": 0.2, "aggregate": 0.001},
        "memory": 1.0,
    }
    return AuditCard.model_validate(fields | changes)


ATTACKS = {"untargeted": "ipm", "targeted": "label-flip(mode=targeted)", "backdoor": "backdoor(target=7)"}
"""One attack per threat of a made card."""


def _clean(partition, share, accuracy):
    cost = Measured(mean=0.0, low=0.0, high=0.0) if share == TINY.headline_share else None
    return Clean(
        partition=partition,
        share=share,
        accuracy=_around(accuracy),
        worst_class_accuracy=_around(0.2),
        cost=cost,
        command="fedpoison compare",
    )


def _attacked(threat, partition, share, accuracy, success):
    return Attacked(
        threat=threat,
        partition=partition,
        share=share,
        attack=ATTACKS[threat],
        family="hidden",
        schedule="always",
        knowledge="omniscient" if threat == "untargeted" else "own",
        knows_rule=False,
        tuned=False,
        validation_harm=0.5,
        accuracy=_around(accuracy),
        worst_class_accuracy=_around(0.1),
        lost_accuracy=_around(0.1),
        success=None if success is None else _around(success),
        clean_success=None if success is None else _around(0.0),
        stopped_seeds=[],
        command=f"fedpoison compare --attacks {ATTACKS[threat]}",
    )


def _around(mean):
    return Measured(mean=mean, low=max(0.0, mean - 0.05), high=min(1.0, mean + 0.05))
