"""A small protocol on the digits of scikit-learn, whose audit takes seconds."""

from dataclasses import replace

from fedpoison.audits.protocol import Budget, Protocol, ProtocolAttack

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
