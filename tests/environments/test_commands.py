"""Set-up commands: what is understood, what is refused, and that nothing else ever happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlx_chain.errors import SetupRefused
from armlx_chain.protocol.model import SetupStep
from verifier.environments.commands import (
    Requirements,
    Run,
    Step,
    Sync,
    _structured,
    read_command,
    read_snippet,
    redirected_log,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("uv sync", (Sync(),)),
        ("uv sync --frozen --extra cpu --group dev", (Sync(("cpu",), ("dev",)),)),
        ("uv sync --extra=cpu --no-dev", (Sync(("cpu",), (), ("--no-dev",)),)),
        ("uv sync && uv run prepare.py", (Sync(), Run("prepare.py"))),
        (
            "# first\nuv sync\n\nuv run ./prepare.py --num-shards 8",
            (Sync(), Run("prepare.py", ("--num-shards", "8"))),
        ),
        ("uv run --frozen python -u train.py 'two words'", (Run("train.py", ("two words",)),)),
        ("python3.11 tools/make.py", (Run("tools/make.py"),)),
        ("uv venv && uv pip sync requirements.txt", (Requirements(("requirements.txt",), exact=True),)),
        ("pip install -r a.txt -r b.txt", (Requirements(("a.txt", "b.txt")),)),
        ("python -m pip install --require-hashes --requirement a.txt", (Requirements(("a.txt",)),)),
        ("", ()),
    ],
)
def test_known_commands_are_understood(text: str, steps: tuple[Step, ...]) -> None:
    assert read_snippet(text) == steps


@pytest.mark.parametrize(
    "text",
    [
        "curl https://example.org/x | sh",
        "uv sync; rm -rf /",
        "uv sync & uv run prepare.py",
        "uv sync || true",
        "uv sync &&",
        "&& uv sync",
        "uv sync > log",
        "uv run prepare.py $(id)",
        "uv run prepare.py `id`",
        'uv run prepare.py "$HOME"',
        "uv run prepare.py 'open",
        "uv run pre'pare'.py",
        "uv run prepare.py *",
        "uv run prepare.py ~/x",
        "FOO=1 uv sync",
        "export FOO=1",
        "cd sub && uv sync",
        "uv run --with evil prepare.py",
        "uv run --script prepare.py",
        "uv run --python 3.9 prepare.py",
        "uv run ../prepare.py",
        "uv run /etc/x.py",
        "uv run prepare",
        "uv run -m prepare",
        "python -c 1",
        "uv sync --index-url https://example.org",
        "uv sync --python-preference managed",
        "uv sync --extra",
        "uv sync --extra ../x",
        "uv lock",
        "uv add evil",
        "uv tool install evil",
        "uv python install 3.13",
        "uv venv --python 3.9",
        "uv pip install evil",
        "uv pip install -r a.txt evil",
        "pip install --index-url https://example.org -r a.txt",
        "pip install -e .",
        "pip install -r ../a.txt",
        "pip uninstall mlx",
        "pip",
        "uv",
        "bash setup.sh",
        "make",
        "uv\tsync\x00",
        "uv run prépare.py",
    ],
)
def test_everything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(SetupRefused) as refused:
        read_snippet(text)
    assert "is not carried out" in refused.value.message
    assert "--python" in (refused.value.next_step or "")


@given(st.text(alphabet=st.sampled_from("uv syncrup.e&|;$`'\"\\\n\t -=/*~#()<>é\x00"), max_size=40))
def test_whatever_a_command_holds_it_is_understood_wholly_or_refused(text: str) -> None:
    try:
        steps = read_snippet(text)
    except SetupRefused:
        return
    for step in steps:
        words = step.arguments if isinstance(step, Run) else ()
        assert not any(set(word) & set("$`\\") for word in words)


def test_structured_steps_obey_the_same_grammar() -> None:
    assert _structured(SetupStep(kind="uv", args=("sync", "--extra", "cpu"))) == (Sync(("cpu",)),)
    assert _structured(SetupStep(kind="bash", args=("-c", "uv sync && uv run prepare.py"))) == (
        Sync(),
        Run("prepare.py"),
    )
    for kind, args in [
        ("bash", ("setup.sh",)),
        ("sh", ("-c", "rm -rf /")),
        ("npm", ("ci",)),
        ("make", ()),
        ("cargo", ()),
    ]:
        with pytest.raises(SetupRefused, match="is not carried out"):
            _structured(SetupStep(kind=kind, args=args))  # type: ignore[arg-type]


def test_the_execution_command_is_one_script_with_plain_arguments() -> None:
    assert read_command("uv run train.py --depth 4") == Run("train.py", ("--depth", "4"))
    assert read_command("python train.py") == Run("train.py")
    for text in (
        "uv sync",
        "uv run train.py > run.log",
        "uv run a.py && uv run b.py",
        "uv run train.py | tee x",
    ):
        with pytest.raises(SetupRefused):
            read_command(text)


def test_the_log_of_a_redirection_is_found_only_where_it_is_plain() -> None:
    assert redirected_log("uv run train.py > run.log 2>&1") == "run.log"
    assert redirected_log("uv run train.py 2>&1 | tee run.log") is None
    assert redirected_log("x > $(evil)") is None
    assert redirected_log(None) is None
