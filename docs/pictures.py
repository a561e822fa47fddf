"""Draw the pictures of architecture.md from the code, so that they cannot drift from it.

`python docs/pictures.py` writes them to `docs/_static/architecture`; a test compares them with the code.
"""

from __future__ import annotations

import ast
import itertools
import textwrap
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "_static" / "architecture"
WIDTH, MARGIN, GAP = 1000, 20, 24
STYLE = """<style>
text { font-family: Helvetica, Arial, sans-serif; fill: #1f2933 }
.name { font-size: 15px; font-weight: bold } .note { font-size: 12px }
.call { font-size: 13px; font-family: monospace; font-weight: bold }
.room { fill: #eef3f8; stroke: #5b7083 } .arrow { stroke: #8296a8; fill: none; marker-end: url(#head) }
</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0 L8 4 L0 8 z" fill="#8296a8"/></marker></defs>"""


def layers() -> list[list[str]]:
    """Return the rooms layer by layer, the top one first, as the import contract names them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(c for c in project["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    return [[room.strip() for room in layer.split("|")] for layer in contract["layers"]]


def purpose(room: str) -> str:
    """Return the first sentence of a room's docstring."""
    path = ROOT.joinpath(*room.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    doc = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return doc.split("\n\n")[0].replace("\n", " ")


def imports() -> dict[str, set[str]]:
    """Return which rooms each room imports."""
    rooms = [room for layer in layers() for room in layer]
    found: dict[str, set[str]] = {room: set() for room in rooms}
    for room in rooms:
        path = ROOT.joinpath(*room.split("."))
        for source in path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]:
            for module in _imported(ast.parse(source.read_text(encoding="utf-8"))):
                found[room] |= {other for other in rooms if f"{module}.".startswith(f"{other}.")}
        found[room].discard(room)
    return found


def _imported(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms_picture() -> str:
    """Return the rooms as SVG: a row per layer, and an arrow for each import from the next layer."""
    boxes: dict[str, tuple[float, float, float, float]] = {}
    drawn: list[str] = []
    top = float(MARGIN)
    for layer in layers():
        width = min(460.0, (WIDTH - 2 * MARGIN - GAP * (len(layer) - 1)) / len(layer))
        left = (WIDTH - len(layer) * width - GAP * (len(layer) - 1)) / 2
        notes = {room: textwrap.wrap(purpose(room), int(width / 6.6)) for room in layer}
        height = 32 + 15 * max(len(lines) for lines in notes.values())
        for room in layer:
            boxes[room] = (left, top, width, height)
            drawn.append(
                f'<rect class="room" x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="6"/>'
            )
            drawn.append(f'<text class="name" x="{left + 10:g}" y="{top + 20:g}">{escape(room)}</text>')
            drawn += [
                f'<text class="note" x="{left + 10:g}" y="{top + 37 + 15 * number:g}">{escape(line)}</text>'
                for number, line in enumerate(notes[room])
            ]
            left += width + GAP
        top += height + 34
    level = {room: number for number, layer in enumerate(layers()) for room in layer}
    arrows = [
        _arrow(boxes[room], boxes[other])
        for room, others in imports().items()
        for other in sorted(others)
        if level[other] == level[room] + 1
    ]
    return _svg(top - 34 + MARGIN, arrows + drawn)


def _arrow(start: tuple[float, float, float, float], end: tuple[float, float, float, float]) -> str:
    x, y, width, height = start
    x2, y2, width2, _ = end
    low, high = max(x, x2), min(x + width, x2 + width2)
    begin, finish = ((low + high) / 2,) * 2 if low < high else (x + width / 2, x2 + width2 / 2)
    return f'<path class="arrow" d="M{begin:g} {y + height:g} L{finish:g} {y2:g}"/>'


def _svg(height: float, parts: list[str]) -> str:
    box = f'viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" height="{height:g}"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {box}>', STYLE, *parts, "</svg>", ""])


ROUND = (
    ("fedpoison.simulation.run:simulate", "Start with a scenario that is parsed once."),
    ("fedpoison.federation.federation:Federation.load", "Load the data, and decide who is malicious."),
    ("fedpoison.federation.server:run_server", "Run the rounds as a Flower server."),
    (
        "fedpoison.federation.server_strategy:SimulationStrategy.configure_train",
        "Sample clients, and send them the weights.",
    ),
    ("fedpoison.federation.adversary:AdversaryGrid.send_and_receive", "The attacker sees the messages."),
    ("fedpoison.engines.base:EngineGrid.send_and_receive", "Split the clients into batches."),
    ("fedpoison.federation.client:train_client", "Train one client, honest or attacked."),
    ("clients.training.trainer:Trainer.fit", "Run local SGD."),
    ("fedpoison.federation.adversary:AdversaryGrid._replace_updates", "Hand each attack what it may know."),
    ("clients.attacks.updates.ipm:Ipm.craft", "Craft the malicious updates."),
    (
        "fedpoison.federation.server_strategy:SimulationStrategy.aggregate_train",
        "Drop unusable replies, and stack the rest.",
    ),
    ("strategies.base:Rule.__call__", "Check and aggregate the (n, d) matrix."),
    ("fedpoison.federation.evaluation:Evaluator.__call__", "Compute the confusion matrices."),
    ("fedpoison.results.run_writer:RunWriter.append", "Write the record of the round."),
)
"""Functions that a run under IPM calls for its first round, in order, with what each does."""


def round_picture() -> str:
    """Return one round as SVG: a row per call of `ROUND`, in the column of its room."""
    rooms = [room for layer in layers() for room in layer]
    homes = [next(room for room in rooms if name.startswith((f"{room}.", f"{room}:"))) for name, _ in ROUND]
    columns = sorted(set(homes), key=rooms.index)
    box, height, row = 330, 42, 66
    step = (WIDTH - 2 * MARGIN - box) / (len(columns) - 1)
    corners = [
        (MARGIN + columns.index(home) * step, MARGIN + 30 + row * number) for number, home in enumerate(homes)
    ]
    drawn = [
        f'<text class="name" x="{MARGIN + number * step:g}" y="{MARGIN + 12}">{room.split(".")[-1]}</text>'
        for number, room in enumerate(columns)
    ]
    for (x, y), (name, note) in zip(corners, ROUND, strict=True):
        drawn.append(f'<rect class="room" x="{x:g}" y="{y:g}" width="{box}" height="{height}" rx="5"/>')
        drawn.append(f'<text class="call" x="{x + 9:g}" y="{y + 17:g}">{escape(name.split(":")[1])}</text>')
        drawn.append(f'<text class="note" x="{x + 9:g}" y="{y + 33:g}">{escape(note)}</text>')
    bend = height + (row - height) / 2
    arrows = [
        f'<path class="arrow" d="M{x + 30:g} {y + height:g} V{y + bend:g} H{x2 + 30:g} V{y2:g}"/>'
        for (x, y), (x2, y2) in itertools.pairwise(corners)
    ]
    return _svg(corners[-1][1] + height + MARGIN, arrows + drawn)


PICTURES = {"rooms.svg": rooms_picture, "round.svg": round_picture}


def main() -> None:
    """Write every picture."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        (FOLDER / name).write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
