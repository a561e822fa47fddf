"""The pages, and later the docstrings and help texts, use plain English and one word for one thing."""

import ast
import re
from pathlib import Path

import pytest

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
UNCHECKED = {}
PAGES = [
    path
    for path in [
        *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
    ]
    if path.relative_to(ROOT).as_posix() not in UNCHECKED
]
SOURCES: tuple[str, ...] = ("clients", "experiments", "fedpoison", "strategies")
"""Folders whose docstrings and help texts are checked."""

INSTEAD = {
    # one word for one thing
    "cohorts?": "client batch; per round: sampled clients",
    "doors?": "stage",
    "fleets?": "federation, or clients",
    "hosts?": "server, server strategy",
    "knobs?": "parameter",
    "ledgers?": "trust matrix",
    "nodes?": "client",
    "rosters?": "attacker selection",
    "shipped": "built-in",
    "spelt|spelled|spellings?": "written, spec, canonical form",
    "twins?": "clean run, attack-free reference run",
    "wires?": "messages",
    # plain verbs
    "be had": "is available",
    "comes? of|came of|what comes|what came": "result",
    "laws?": "property",
    "made by": "name who does it: created by, run by",
    "stands?|stood": "withstand, be",
    "tells?|told|telling": "report, print, show, warn, pass",
    # plain words
    "anew": "again",
    "anybody|everybody|nobody|somebody|whoever": "name the subject",
    "as far as": "if, up to",
    "be it": "whether ... or",
    "besides?": "next to, in addition to",
    "but for": "except",
    "hither|thither|hence|thereby|wherein": "so",
    "likewise": "also, in the same way",
    "of which|of whom": "a second sentence",
    "if unset|unless told otherwise": "Default: X.",
    # "per round", not "a round"
    "(?:once|twice|one|times|seconds|minutes|bytes|MB|clients|gradients?|images|numbers|rows?|lines?) a "
    "(?:round|client|seed|run|row|line|strategy|class|worker|cell|second|call)": "per round",
}
"""Words to avoid, as regular expressions for whole words in any case, and what to write in their place."""

ALLOWED = {
    r"--twin": "an option of `fedpoison run`",
    r"(?:another|remote|network) hosts?|host:port": "a computer in a network",
    r"Flower's nodes?|node ids?|Ray nodes?": "the word of Flower and of Ray for a process or a machine",
    r"nodes?:": "the name of an argument",
    r"be told apart": "an idiom without another plain form",
    r"stands for": "an idiom without another plain form",
}
"""Phrases in which a word above is right, with the reason."""

_WORDS = re.compile("|".join(rf"\b(?:{word})\b".replace(" ", r"\s+") for word in INSTEAD), re.IGNORECASE)
_RIGHT = re.compile("|".join(f"(?:{phrase})".replace(" ", r"\s+") for phrase in ALLOWED))
_NOT_PROSE = (
    re.compile(r"^(```+)[^\n]*\n.*?^\1", re.DOTALL | re.MULTILINE),  # blocks of code, directives
    re.compile(r"<!--.*?-->", re.DOTALL),
    re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL),  # code in a line
    re.compile(r"(?<=\])\([^)\s]*\)"),  # the target of a link
    re.compile(r"https?://\S+"),
    re.compile(r"^\s*>>> .*?(?=\n\s*\n|\Z)", re.DOTALL | re.MULTILINE),  # an example with its output
)


def found(text: str, first_line: int = 1) -> list[str]:
    """Return each word to avoid in the prose of a text, with its line and what to write in its place."""
    for pattern in (*_NOT_PROSE, _RIGHT):
        text = pattern.sub(_blank, text)
    findings = []
    for match in _WORDS.finditer(text):
        line = first_line + text.count("\n", 0, match.start())
        word = " ".join(match[0].split())
        instead = next(
            advice for pattern, advice in INSTEAD.items() if re.fullmatch(pattern, word, re.IGNORECASE)
        )
        findings.append(f"{line}: {word!r}; better: {instead}")
    return findings


def _blank(match: re.Match[str]) -> str:
    """Return what takes the place of text that is not read: lines and columns keep their numbers."""
    return re.sub(r"[^\n]", ".", match[0])


def read_texts(source: str) -> list[tuple[int, str]]:
    """Return the texts for people in Python code, with their lines.

    These are the docstrings of modules, classes, functions and attributes, and the texts that a call takes as
    `help` or `description`.
    """
    texts = []
    for part in ast.walk(ast.parse(source)):
        values = []
        if isinstance(part, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            values = [child.value for child in part.body if isinstance(child, ast.Expr)]
        elif isinstance(part, ast.Call):
            values = [word.value for word in part.keywords if word.arg in ("help", "description")]
        texts += [
            (value.lineno, value.value)
            for value in values
            if isinstance(value, ast.Constant) and isinstance(value.value, str)
        ]
    return texts


def modules() -> list[Path]:
    return [path for folder in SOURCES for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_page_is_in_plain_english(path):
    assert not found(path.read_text(encoding="utf-8"))


def test_docstrings_and_help_are_in_plain_english():
    wrong = {
        str(path.relative_to(ROOT)): findings
        for path in modules()
        if (
            findings := [
                finding
                for line, text in read_texts(path.read_text(encoding="utf-8"))
                for finding in found(text, line)
            ]
        )
    }
    assert not wrong


def test_every_page_that_is_not_checked_exists():
    assert all((ROOT / name).is_file() for name in UNCHECKED)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The run is made\nanew.", ["2: 'anew'"]),
        ("Nobody attacks.", ["1: 'Nobody'"]),
        ("A strategy stands\nattacks; 12 MB a\nround.", ["1: 'stands'", "2: 'MB a round'"]),
        ("After a round, and in a round.", []),
        ("Standard; a bystander; tellurium; renewed.", []),
        ("Use `--cohort`, ``the fleet`` and [this](fleet.md).", []),
        ("```\nfleet\n```\nfleet", ["4: 'fleet'"]),
        ("The attacks --twin and another host.", []),
        (">>> fleet\nfleet\n\nfleet", ["4: 'fleet'"]),
    ],
)
def test_the_search_finds_words_outside_of_code(text, words):
    assert [finding.partition(";")[0] for finding in found(text)] == words


def test_the_search_reads_docstrings_and_help():
    function = 'def f():\n    """Go.\n\n    A knob.\n    """\n    g(help="Anew.")\n'
    source = f'"""A fleet."""\nx = 1\n"""A door."""\n\n\n{function}'
    findings = [finding for line, text in read_texts(source) for finding in found(text, line)]
    assert [finding.partition(";")[0] for finding in sorted(findings)] == [
        "11: 'Anew'",
        "1: 'fleet'",
        "3: 'door'",
        "9: 'knob'",
    ]
