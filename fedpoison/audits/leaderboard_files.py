"""Files of a leaderboard: Markdown, CSV, JSON and one HTML page."""

from __future__ import annotations

from pathlib import Path

from fedpoison.audits.leaderboard import Leaderboard
from fedpoison.audits.leaderboard_page import page
from fedpoison.audits.leaderboard_tables import basis, board_tables, to_markdown
from fedpoison.errors import file_errors
from fedpoison.results.markdown import markdown_text
from fedpoison.results.run_frame import to_records
from fedpoison.results.strict_json import to_json

NAME = "leaderboard"
"""Name of the files, and of the folder of the data."""


def write_board(board: Leaderboard, folder: str | Path) -> Path:
    """Write `leaderboard.md` into a folder, and the data and the page into its folder `leaderboard`.

    Returns:
        The Markdown file.

    Raises:
        RunError: a file cannot be written.
    """
    path, data = Path(folder) / f"{NAME}.md", Path(folder) / NAME
    with file_errors(path):
        data.mkdir(parents=True, exist_ok=True)
        path.write_text(markdown(board), encoding="utf-8")
        (data / f"{NAME}.json").write_text(to_json(as_json(board), indent=1) + "\n", encoding="utf-8")
        (data / f"{NAME}.html").write_text(page(board), encoding="utf-8")
        board.to_frame().to_csv(data / f"{NAME}.csv", index=False)
        board.results_frame().to_csv(data / "attacks.csv", index=False)
        board.effects_frame().to_csv(data / "effects.csv", index=False)
    return path


def as_json(board: Leaderboard) -> dict[str, object]:
    """Return what the cards share, one entry per strategy, and what is left out, as plain values."""
    return {
        "basis": board.basis,
        "headline_share": board.headline_share,
        "not_dominated": board.front,
        "strategies": to_records(board.to_frame()),
        "not_comparable": dict(board.not_comparable),
    }


def markdown(board: Leaderboard) -> str:
    """Return the leaderboard in Markdown, with links to the data next to it."""
    parts = [f"# Leaderboard\n\n{_INTRODUCTION}\n", basis(board) + "\n", f"{_LINKS}\n"]
    if board.front:
        front = ", ".join(f"`{name}`" for name in board.front)
        parts.append(
            "No other strategy is at least as good both without attack and in the worst case as these: "
            f"{front}.\n"
        )
    if board.missing:
        missing = ", ".join(f"`{name}`" for name in board.missing)
        parts.append(f"Not audited yet: {missing}. `python -m experiments.leaderboard` audits them.\n")
    parts += [f"## {table.title}\n\n{to_markdown(table)}\n" for table in board_tables(board)]
    if board.not_comparable:
        rows = "\n".join(f"- {name}: {markdown_text(why)}" for name, why in board.not_comparable.items())
        parts.append(f"## Cards that do not compare\n\n{rows}\n")
    return "\n".join(parts)


_INTRODUCTION = """\
Strategies of fedpoison and some pipelines under one [audit](audit.md): a fixed protocol of attacks that are
tuned against each strategy. The worst case counts. The strategy with the best worst case is first. See
[Which defence should I use?](which-defence.md) for how to choose."""
_LINKS = f"""\
The data: one [page]({NAME}/{NAME}.html) that sorts and filters, the rows as [CSV]({NAME}/{NAME}.csv) and
[JSON]({NAME}/{NAME}.json), every reported attack as [CSV]({NAME}/attacks.csv), and the strongest try of each
attack as [CSV]({NAME}/effects.csv). The catalogue shows which attacks broke
[each strategy](catalogue/strategies.md), and which strategies [each attack](catalogue/attacks.md) broke.
`python -m experiments.leaderboard` repeats all of it. `fedpoison leaderboard add card.json` adds a card."""
