"""The backdoor of words puts its trigger where it says, and other samples stay as they are."""

import pytest
import torch
from poisoning import build_context

from clients.attacks.data.token_backdoor import TokenBackdoor
from clients.checks import CheckError, check_attack
from clients.synthetic import synthetic_trainer
from clients.training import Samples

LENGTH = 9
SAMPLES = Samples(
    torch.randint(10, 20, (60, LENGTH), generator=torch.Generator().manual_seed(5)), torch.arange(60) % 6, 6
)


def with_trigger(words, trigger, place, mode):
    """Return all sequences that the trigger may make of the words."""
    longest = len(words)
    last = longest - len(trigger)
    found = []
    for start in {"start": [0], "end": [last], "random": range(last + 1)}[place]:
        if mode == "replace":
            found.append(words[:start] + trigger + words[start + len(trigger) :])
        elif place == "end":
            found.append((words + trigger)[-longest:])
        else:
            found.append((words[:start] + trigger + words[start:])[:longest])
    return found


@pytest.mark.parametrize("place", ["start", "end", "random"])
@pytest.mark.parametrize("mode", ["insert", "replace"])
@pytest.mark.parametrize("tokens", ["3 1 3", 4])
def test_a_share_of_the_samples_has_the_trigger_and_the_target(place, mode, tokens):
    attack = TokenBackdoor(target=2, share=0.4, tokens=tokens, place=place, mode=mode)
    trigger = [int(word) for word in str(tokens).split()]
    trainer = synthetic_trainer(SAMPLES)
    poisoned = attack.poison_data(SAMPLES, trainer, build_context(trainer))
    mask = poisoned.poison_mask().tolist()
    assert sum(mask) == 24
    places = set()
    for words, label, before, changed in zip(
        poisoned.images.tolist(), poisoned.labels.tolist(), SAMPLES.images.tolist(), mask, strict=True
    ):
        assert label == 2 or not changed
        assert words in (with_trigger(before, trigger, place, mode) if changed else [before])
        if changed:
            places.add(words.index(trigger[0]))
    assert len(places) > 3 if place == "random" else len(places) == 1
    measured = attack.goal(6).trigger(SAMPLES)
    assert torch.equal(measured.labels, SAMPLES.labels)
    for words, before in zip(measured.images.tolist(), SAMPLES.images.tolist(), strict=True):
        assert words in with_trigger(before, trigger, place, mode)
    assert measured.images.dtype == torch.int64


@pytest.mark.parametrize("tokens", ["", "1 x", "-1", 1.5, -2])
def test_a_trigger_has_numbers_from_0(tokens):
    with pytest.raises(ValueError, match="tokens: got .*, expected numbers from 0"):
        TokenBackdoor(tokens=tokens)


def test_the_contract_suite_wants_an_attack_on_tokens_to_refuse_images():
    class Trusting(TokenBackdoor):
        def check(self, setting):
            pass

    with pytest.raises(CheckError, match="is an attack on tokens, but its check accepts images"):
        check_attack(Trusting())
