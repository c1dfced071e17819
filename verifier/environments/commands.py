"""Set-up and execution commands of a protocol: a stranger's words, read by a small grammar. Pure.

Invariants:

- what is not understood completely is refused by name, with what to do; nothing is ever handed to a shell;
- a script is a plain relative path of the snapshot; it is run by the environment's own interpreter, never by
  ``uv run`` itself, which would read PEP 723 metadata and install what it names;
- ``&&`` and line ends join commands; no other connection, expansion or redirection exists.

::

    for step in read_setup(protocol):
        ...
    read_command("uv run train.py --depth 4")   # Run("train.py", ("--depth", "4"))
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from armlx_chain.errors import SetupRefused
from armlx_chain.protocol.model import Protocol, SetupStep
from armlx_chain.protocol.text import check_relative_path, one_line

_PLAIN: Final = re.compile(r"[A-Za-z0-9@%+=:,./_-]+", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?", re.ASCII)
_QUOTED_REFUSED: Final = frozenset("$`\\!")
_MAX_COMMANDS: Final = 32
_MAX_WORDS: Final = 64
_SHELLS: Final = ("bash", "sh")
_PYTHONS: Final = re.compile(r"python(3(\.[0-9]{1,2})?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Sync:
    """``uv sync``: what the lock says, nothing else.

    Attributes:
        extras: Optional dependency sets of the project.
        groups: Dependency groups beyond the default ones.
        options: Further options that only choose among what is locked, such as ``--no-dev``.
    """

    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def arguments(self) -> tuple[str, ...]:
        chosen = [word for name in self.extras for word in ("--extra", name)]
        chosen += [word for name in self.groups for word in ("--group", name)]
        return (*chosen, *self.options)


@dataclass(frozen=True, slots=True)
class Requirements:
    """Packages from requirement files of the snapshot; every one must be pinned with a hash.

    Attributes:
        exact: Whether anything else is to be removed (``uv pip sync``).
    """

    files: tuple[str, ...]
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """A script of the snapshot with its arguments, for the environment's interpreter."""

    script: str
    arguments: tuple[str, ...] = ()


Step = Sync | Requirements | Run


def read_setup(protocol: Protocol) -> tuple[Step, ...]:
    """All set-up steps of a protocol, in order.

    Raises:
        SetupRefused: naming the first command that cannot be carried out safely, and why.
    """
    steps: list[Step] = []
    for command in protocol.environment.setup_commands:
        if isinstance(command, SetupStep):
            steps += _structured(command)
        else:
            steps += read_snippet(command)
    if len(steps) > _MAX_COMMANDS:
        raise SetupRefused(f"The protocol has {len(steps)} set-up commands; at most {_MAX_COMMANDS} are run.")
    return tuple(steps)


def read_snippet(text: str) -> tuple[Step, ...]:
    """The commands of one string, which may be joined by ``&&`` and line ends.

    Raises:
        SetupRefused: for anything that is not understood.
    """
    found: list[Step] = []
    for line in text.split("\n"):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        for part in _split_and(line):
            step = _command(part, line)
            if step is not None:
                found.append(step)
    return tuple(found)


def read_command(text: str) -> Run:
    """The execution command: one script with plain arguments.

    Raises:
        SetupRefused: for anything else.
    """
    steps = read_snippet(text)
    if len(steps) != 1 or not isinstance(steps[0], Run):
        _refuse(text, "the execution command runs one script of the snapshot", "Write: uv run train.py")
    return steps[0]


def redirected_log(text: str | None) -> str | None:
    """The file that an example such as ``uv run train.py > run.log 2>&1`` writes to, if it is that plain."""
    found = re.search(r">\s*([A-Za-z0-9._/-]{1,200})\s*(2>&1)?\s*$", text or "", re.ASCII)
    return found.group(1) if found else None


def _refuse(text: str, why: str, instead: str) -> NoReturn:
    raise SetupRefused(
        f"The command {one_line(text, 80)!a} of the protocol is not carried out: {why}.",
        meaning="Set-up commands are a stranger's words; only known ones are run, in the sandbox.",
        next_step=f"{instead}, or make the environment yourself and name it with --python.",
    )


def _split_and(line: str) -> list[list[str]]:
    """Words of each command of a line."""
    commands: list[list[str]] = [[]]
    for word, quoted in _words(line):
        if word == "&&" and not quoted:
            commands.append([])
        else:
            commands[-1].append(word)
    if any(not words for words in commands):
        _refuse(line, "'&&' stands beside no command", "Write one command per entry")
    if any(len(words) > _MAX_WORDS for words in commands):
        _refuse(line, f"it has more than {_MAX_WORDS} words", "Shorten it")
    return commands


def _words(line: str) -> Iterable[tuple[str, bool]]:
    """Words and whether they were quoted. A word is plain or wholly quoted; nothing is expanded."""
    position = 0
    while position < len(line):
        char = line[position]
        if char in " \t":
            position += 1
            continue
        if char in "'\"":
            end = line.find(char, position + 1)
            inside = line[position + 1 : end]
            if end < 0 or _QUOTED_REFUSED & set(inside):
                _refuse(line, "a quotation is open, or holds $, `, ! or a backslash", "Use plain words")
            word, position, quoted = inside, end + 1, True
        elif line.startswith("&&", position):
            word, position, quoted = "&&", position + 2, False
        else:
            match = _PLAIN.match(line, position)
            if match is None:
                _refuse(
                    line, f"{char!a} belongs to a shell, and none is used", "Use plain words joined by &&"
                )
            word, position, quoted = match.group(), match.end(), False
        if word != "&&" and position < len(line) and line[position] not in " \t&":
            _refuse(line, "a word is quoted in part", "Use plain words")
        yield word, quoted


def _structured(step: SetupStep) -> tuple[Step, ...]:
    shown = " ".join((step.kind, *step.args))
    if step.kind in _SHELLS:
        if len(step.args) == 2 and step.args[0] == "-c":
            return read_snippet(step.args[1])
        _refuse(shown, f"{step.kind} runs a script that nobody can check", "Name the steps themselves")
    found = _command([step.kind, *step.args], shown)
    return () if found is None else (found,)


def _command(words: Sequence[str], shown: str) -> Step | None:
    """One command; ``None`` for one that is carried out anyway."""
    program, rest = words[0], list(words[1:])
    if program == "uv":
        return _uv(rest, shown)
    if program in ("pip", "pip3"):
        return _pip(rest, shown, exact=False)
    if _PYTHONS.fullmatch(program):
        if rest[:2] == ["-m", "pip"]:
            return _pip(rest[2:], shown, exact=False)
        return _script(rest, shown)
    _refuse(shown, f"{program[:40]!a} is not known here", "Use uv sync, uv run, pip install -r or python")


def _uv(words: list[str], shown: str) -> Step | None:
    action = words[0] if words else ""
    known: dict[str, Callable[[], Step | None]] = {
        "sync": lambda: _sync(words[1:], shown),
        "run": lambda: _uv_run(words[1:], shown),
        "venv": lambda: None if len(words) == 1 else _refuse(shown, "uv venv takes no options", "Drop it"),
        "pip": lambda: _uv_pip(words[1:], shown),
    }
    if action not in known:
        _refuse(shown, f"uv {action[:40]!a} is not known here", "Use uv sync, uv run or uv pip sync")
    return known[action]()


_PIN: Final = frozenset(
    {"--frozen", "--locked", "--no-sync", "--no-progress", "-q", "--quiet", "-n", "--no-cache"}
)
"""Say nothing new: only what is locked is installed anyway, from a fresh cache, before anything runs."""
_CHOOSE: Final = frozenset(
    {"--all-extras", "--no-dev", "--only-dev", "--all-groups", "--no-default-groups", "--dev"}
)


def _sync(words: list[str], shown: str) -> Sync:
    extras: list[str] = []
    groups: list[str] = []
    options: list[str] = []
    pending = _split_values(words)
    while pending:
        word = pending.pop(0)
        if word in _PIN:
            continue
        if word in _CHOOSE:
            options.append(word)
        elif word in ("--extra", "--group") and pending and _NAME.fullmatch(pending[0]):
            (extras if word == "--extra" else groups).append(pending.pop(0))
        else:
            _refuse(shown, f"the option {word[:40]!a} of uv sync is not known here", "Use --extra or --group")
    return Sync(tuple(extras), tuple(groups), tuple(options))


def _split_values(words: Iterable[str]) -> list[str]:
    """``--extra=cpu`` as two words."""
    found: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        found += [name, value] if equals and word.startswith("--") else [word]
    return found


def _uv_run(words: list[str], shown: str) -> Run:
    rest = list(words)
    while rest and rest[0] in _PIN:
        rest.pop(0)
    if rest and _PYTHONS.fullmatch(rest[0]):
        rest.pop(0)
    return _script(rest, shown)


def _script(words: list[str], shown: str) -> Run:
    if words[:1] == ["-u"]:
        words = words[1:]
    if not words or words[0].startswith("-") or not words[0].endswith(".py"):
        _refuse(shown, "it runs no script of the snapshot", "Name a .py file of the repository")
    return Run(_path(words[0].removeprefix("./"), shown), tuple(words[1:]))


def _path(text: str, shown: str) -> str:
    try:
        return check_relative_path(text)
    except ValueError as problem:
        _refuse(shown, f"of {text[:40]!a}: {problem}", "Name a file of the repository")


def _uv_pip(words: list[str], shown: str) -> Requirements:
    action, rest = (words[0] if words else ""), words[1:]
    if action == "sync":
        return _pip(["install", *(w for name in rest for w in _as_file(name))], shown, exact=True)
    return _pip(words, shown, exact=False)


def _as_file(word: str) -> tuple[str, ...]:
    return (word,) if word.startswith("-") else ("-r", word)


def _pip(words: list[str], shown: str, *, exact: bool) -> Requirements:
    if words[:1] != ["install"]:
        _refuse(shown, "only pip install -r FILE is known", "Pin the packages in a requirements file")
    files: list[str] = []
    pending = _split_values(words[1:])
    while pending:
        word = pending.pop(0)
        if word in ("-r", "--requirement", "--requirements") and pending:
            files.append(_path(pending.pop(0), shown))
        elif word not in ("--require-hashes", "-q", "--quiet", "--no-cache-dir", "--no-deps"):
            _refuse(
                shown, f"{word[:40]!a} names no requirements file", "Pin the packages with hashes in a file"
            )
    if not files:
        _refuse(shown, "it names no requirements file", "Pin the packages with hashes in a file")
    return Requirements(tuple(files), exact)
