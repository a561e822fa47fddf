"""Which fields of a scenario in a file a command takes, and which it sets itself."""

import pytest
import tomli_w

PLAIN = """
dataset = "digits"
train_samples = 400
test_samples = 200
model = "mlp-small"
batch_size = 8
rounds = 1
"""
OTHERS = {
    "attack": "alie",
    "strategy": "krum(byzantine=9)",
    "seed": 7,
    "groups": ["alie: count=2"],
    "goal": "backdoor",
    "malicious": 0.4,
    "malicious_count": 3,
    "malicious_nodes": [1],
    "malicious_per_round": 1,
    "clients": 7,
    "partition": "dirichlet(alpha=0.1)",
    "epochs": 3,
    "steps": 2,
    "persistent_momentum": True,
    "proximal": 3.0,
    "tolerated": 1,
    "root_samples": 9,
}


def test_what_a_command_takes_from_no_file_is_said(fedpoison, tmp_path):
    file = tmp_path / "scenario.toml"
    file.write_text('dataset = "digits"\nattack = "alie"\nseed = 7\nmodel = "mlp-small"\nrounds = 1\n')
    options = ("--attacks", "none", "--strategies", "fedavg", "--jobs", 1, "--out", tmp_path / "runs")
    code, _, err = fedpoison("compare", file, *options)
    assert code == 0
    assert "its attack, seed not used, as this command sets that itself" in err
    assert "not used" not in fedpoison("run", file, "--out", tmp_path / "runs")[2]


@pytest.mark.parametrize(
    ("command", "unused"),
    [
        ("compare --attacks none --strategies fedavg --jobs 1", "attack groups strategy seed"),
        (
            "breakdown --strategies fedavg --shares 0.5 --clients 4 --jobs 1",
            "attack strategy seed malicious malicious_count malicious_nodes malicious_per_round",
        ),
        ("search --attacks ipm --trials 1 --jobs 1", "attack groups goal"),
        (
            "baseline",
            "clients partition epochs steps persistent_momentum proximal strategy tolerated root_samples",
        ),
    ],
)
def test_what_a_command_sets_itself_is_not_taken_from_the_file(fedpoison, tmp_path, command, unused):
    """The runs are those of the file without these fields, by their content."""
    name, *options = command.split()
    fields = {field: OTHERS[field] for field in unused.split()}
    made = []
    for text in (PLAIN, PLAIN + tomli_w.dumps(fields)):
        file, store = tmp_path / "scenario.toml", tmp_path / f"runs-{len(made)}"
        file.write_text(text)
        code, _, err = fedpoison(name, file, *options, "--out", store)
        assert code == 0, err
        assert ("not used" in err) == (text != PLAIN)
        made.append({path.parent.name for path in store.glob("*/model.safetensors")})
    assert made[0]
    assert made[1] == made[0]
