"""Initial weights of a run: the file of a trained model, or the model of another run after a round."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from pydantic import ValidatorFunctionWrapHandler, WrapValidator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from clients.training.parameters import load, trainable
from fedpoison.errors import ScenarioError
from fedpoison.scenario.fields import read_toml
from fedpoison.scenario.parsed_spec import Spec

KIND = "initial"
STORE = Path("runs")
"""Run store in which a run id without a folder is searched."""
NESTED = ("state_dict", "model_state_dict")
"""Keys under which training scripts save the state dict of a model."""
VECTOR = ""
"""Name of all trainable parameters as one vector, as saved updates have them."""
_NAME = re.compile(r"(?P<place>.+?)(?::(?P<round>\d+))?(?:@(?P<digest>[0-9a-f]{12}))?")
_known: WeakValueDictionary[str, InitialModel] = WeakValueDictionary()
"""Models that scenarios of this process have loaded, by digest."""


@dataclass(frozen=True, eq=False)
class InitialModel:
    """Weights and buffers from which a run starts."""

    text: str
    """Name with the digest of the content, for error messages."""
    source: str
    """Absolute path, with the round if it is a run. Empty if the content is not available."""
    tensors: Mapping[str, Tensor]

    @torch.no_grad()
    def load_into(self, model: nn.Module) -> None:
        """Set the weights and buffers of a model.

        Raises:
            ScenarioError: the content is not available, or its names or shapes differ from the model's.
        """
        if not self.tensors:
            raise ScenarioError(
                f"initial {self.text}: the content with this digest is not available; give the path of the "
                "file or the run."
            )
        tensors = dict(self.tensors)
        expected = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
        if VECTOR in tensors:
            parameters = trainable(model)
            vector, size = tensors.pop(VECTOR), sum(part.numel() for part in parameters.values())
            if len(vector) != size:
                raise ScenarioError(
                    f"initial {self.text}: got {len(vector)} parameters, expected the {size} of the model; "
                    "choose the model of that run."
                )
            load(vector, list(parameters.values()))
            expected = {name: expected[name] for name in tensors if name in expected}
        self._check(tensors, expected)
        for name, value in tensors.items():
            expected[name].copy_(value)

    def _check(self, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
        missing, unknown = sorted(expected.keys() - tensors), sorted(tensors.keys() - expected)
        if missing or unknown:
            lacks = f" has no {_some(missing)}" if missing else ""
            more = f" has the unknown {_some(unknown)}" if unknown else ""
            raise ScenarioError(
                f"initial {self.text}:{lacks}{' and' * bool(lacks and more)}{more}, expected the names of "
                "the model's state dict; choose the model that was trained."
            )
        for name, like in expected.items():
            if tensors[name].shape != like.shape:
                raise ScenarioError(
                    f"initial {self.text}: {name}: got the shape {tuple(tensors[name].shape)}, expected "
                    f"{tuple(like.shape)}; choose the model and the data set with which it was trained."
                )
        broken = [name for name, value in tensors.items() if not bool(torch.isfinite(value).all())]
        if broken:
            raise ScenarioError(f"initial {self.text}: {broken[0]} contains NaN or infinity.")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def read_initial(spec: str) -> Spec[InitialModel]:
    """Return the name of an initial model with a digest of its content, and the content.

    >>> read_initial("model.safetensors@0123456789ab")
    'model.safetensors@0123456789ab'

    Args:
        spec: Path of a `.safetensors` file or of a state dict that torch saved, folder of a run, or run id in
            the folder `runs`. A run may have a round, as in `runs/0123456789ab:20`.

    Raises:
        ScenarioError: the spec has no digest, and nothing can be loaded.
    """
    if isinstance(spec, Spec) and spec.kind == KIND:
        return spec
    match = _NAME.fullmatch(spec)
    if match is None:
        raise ScenarioError(
            "initial: got an empty text, expected a file, or a run as in runs/0123456789ab:20."
        )
    place, server_round, digest = match["place"], match["round"], match["digest"]
    if digest in _known:
        return Spec(spec, KIND, _known[digest])
    try:
        source, tensors = _load(Path(place).expanduser(), server_round)
    except ScenarioError:
        if digest is None:
            raise
        return Spec(spec, KIND, InitialModel(spec, "", {}))
    found = _digest(tensors)
    text = f"{Path(source).name}@{found}"
    if digest not in (None, found):
        return Spec(spec, KIND, InitialModel(spec, "", {}))
    model = _known.setdefault(found, InitialModel(text, source, tensors))
    return Spec(text, KIND, model)


def _validate(value: object, _: ValidatorFunctionWrapHandler) -> str:
    if not isinstance(value, str | Path):
        raise ScenarioError(
            f"initial: got a {type(value).__name__}, expected the path of a file or of a run; save weights "
            "with torch.save(model.state_dict(), path), or pass a model with weights as model=."
        )
    return read_initial(value if isinstance(value, str) else str(value))


INITIAL = WrapValidator(_validate)
"""Validator that replaces the initial model of a scenario by its spec."""


def _load(path: Path, server_round: str | None) -> tuple[str, dict[str, Tensor]]:
    """Return the absolute path, with the round if any, and the tensors."""
    run = path if path.is_dir() else STORE / path
    if run.is_dir():
        if not (run / "scenario.toml").is_file():
            raise ScenarioError(
                f"initial: {run} contains no scenario.toml, expected the folder of a run; choose another "
                "folder, or give a file of weights."
            )
        file, vector = _file_of_run(run, server_round)
        suffix = f":{server_round}" if server_round else ""
        tensors = _read(file)
        if vector:
            buffers = {name: value for name, value in tensors.items() if name.startswith(_BUFFERS)}
            tensors = {VECTOR: tensors["model"]}
            tensors |= {name.removeprefix(_BUFFERS): value for name, value in buffers.items()}
        return f"{run.absolute()}{suffix}", tensors
    if server_round is not None:
        raise ScenarioError(f"initial: got round {server_round} of {path}, expected the folder of a run.")
    if not path.is_file():
        raise ScenarioError(
            f"initial: {path} does not exist, expected a file of weights, the folder of a run, or a run id "
            f"in the folder {STORE}."
        )
    return str(path.absolute()), _read(path)


_BUFFERS = "model_buffers."
"""Prefix of the names of buffers in the file of saved updates."""


def _file_of_run(run: Path, server_round: str | None) -> tuple[Path, bool]:
    """Return the file that contains the model of a run after a round, and whether it is one of updates."""
    last = read_toml(run / "scenario.toml").get("rounds")
    if server_round is None or int(server_round) == last:
        if not (run / "model.safetensors").is_file():
            raise ScenarioError(
                f"initial: {run} has no model.safetensors, expected a complete run; run the scenario to its "
                "end, or give a round whose updates were saved."
            )
        return run / "model.safetensors", False
    if isinstance(last, int) and int(server_round) > last:
        raise ScenarioError(
            f"initial: got round {server_round} of {run}, expected at most its {last} rounds."
        )
    following = int(server_round) + 1
    file = run / "updates" / f"round-{following:04d}.safetensors"
    if not file.is_file():
        raise ScenarioError(
            f"initial: the model of {run} after round {server_round} was not saved; run the scenario again "
            f"with --keep-updates {following}, or give the last round."
        )
    return file, True


def _read(path: Path) -> dict[str, Tensor]:
    """Load the tensors of a file. Code in a file of torch is not executed."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, str(error).strip().partition("\n")[0]) from None
    except Exception:  # noqa: BLE001  # bytes that are no pickle raise any exception
        raise _unreadable(path, "it is no file of torch, or contains more than tensors") from None
    for key in NESTED:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        is_dict = isinstance(found, dict)
        kind = f"a dict with the keys {_some([*map(str, found)])}" if is_dict else f"a {type(found).__name__}"
        raise ScenarioError(
            f"initial: {path} contains {kind}, expected the state dict of a model; save it with "
            "torch.save(model.state_dict(), path)."
        )
    return dict(found)


def _unreadable(path: Path, reason: str) -> ScenarioError:
    return ScenarioError(
        f"initial: {path} cannot be loaded ({reason}); expected a .safetensors file, or a state dict that "
        "torch.save wrote."
    )


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = blake2b(digest_size=6)
    for name, value in sorted(tensors.items()):
        digest.update(repr((name, str(value.dtype), tuple(value.shape))).encode())
        digest.update(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
