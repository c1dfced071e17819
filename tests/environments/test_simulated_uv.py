"""The maker with a uv that is a shell script: what it is told, and what it may leave. Needs no real uv."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from armlx_chain.errors import SetupRefused, VerifierFault
from tests.environments.test_fields import small
from tests.environments.test_lockfile import lock, package
from verifier.environments import steps, tree
from verifier.environments.building import Maker
from verifier.environments.steps import Operator
from verifier.environments.store import EnvironmentStore, Made
from verifier.sandbox.interface import Sandbox

pytestmark = pytest.mark.integration

SNAPSHOT = {
    "uv.lock": lock(package("numpy")),
    "pyproject.toml": b'[project]\nname = "project"\nversion = "0.1.0"\n',
    "train.py": b"print('train')",
}
HEAD = '#!/bin/sh\nif [ "$1" = --version ]; then echo "uv 0.9.9"; exit 0; fi\n'
VENV = '"$UV_PYTHON" -m venv --without-pip --symlinks "$UV_PROJECT_ENVIRONMENT" || exit 9\n'


def protocol(*commands: str) -> Any:
    return small(
        environment__setupCommands=list(commands), environment__constraints={"networkPolicy": "full"}
    )


@pytest.fixture
def sync(sandbox: Sandbox, store: EnvironmentStore, tmp_path: Path) -> Callable[..., Made]:
    """Makes the environment with a uv that does what the script says; ``on_log`` sees its output."""

    def make(
        script: str,
        output: bytearray | None = None,
        commands: tuple[str, ...] = ("uv sync",),
        snapshot: dict[str, bytes] = SNAPSHOT,
        **allowed: Any,
    ) -> Made:
        uv = tmp_path / "simulated-uv"
        uv.write_text(HEAD + script)
        uv.chmod(0o755)
        operator = Operator(**{"network": True, "environ": {"ARMLX_UV": str(uv)}, **allowed})
        maker = Maker(
            store,
            sandbox,
            operator,
            tools=tmp_path / "tools",
            say=lambda _: None,
            on_log=(output if output is not None else bytearray()).extend,
        )
        made = maker.environment(protocol(*commands), snapshot)
        assert made is not None
        return made

    return make


def test_uv_is_told_to_install_the_frozen_lock_and_nothing_else(sync: Callable[..., Made]) -> None:
    output = bytearray()
    made = sync('echo "args $*"; env | sort; ls; ' + VENV, output)
    lines = output.decode().splitlines()
    said = next(line for line in lines if line.startswith("args "))
    for word in ("sync", "--frozen", "--no-config", "--no-install-project", "--no-build"):
        assert word in said.split()
    assert "UV_PYTHON_DOWNLOADS=never" in lines
    assert not any(line.startswith("UV_OFFLINE") for line in lines)
    assert {"uv.lock", "pyproject.toml", "train.py"} <= set(lines)
    assert not any("ARMLX" in line or "HOME=/root" in line for line in lines)
    assert made.python.is_symlink() and made.record.inputs["uv version"] == "0.9.9"


def test_what_was_made_is_used_again_without_uv_running(sync: Callable[..., Made]) -> None:
    made = sync(VENV)
    assert sync("exit 7\n") == made
    assert sync("exit 7\n", network=False) == made


@pytest.mark.parametrize(
    ("leaves", "words"),
    [
        ('ln -s /etc/passwd "$UV_PROJECT_ENVIRONMENT/lib/leak"\n', "leads out of its folder"),
        ('mkfifo "$UV_PROJECT_ENVIRONMENT/lib/pipe"\n', "neither file, folder nor link"),
        (
            'cd "$UV_PROJECT_ENVIRONMENT" && mkdir -p lib/a/b && ln -s ../../.. lib/a/b/up'
            " && ln -s lib/a/b/up/../other leak\n",
            "leads out of its folder",
        ),
        ('cd "$UV_PROJECT_ENVIRONMENT/bin" && rm python && cp /bin/true python\n', "no interpreter but"),
        ('cd "$UV_PROJECT_ENVIRONMENT" && printf "home = \\377" > pyvenv.cfg\n', "pyvenv.cfg"),
        ("exit 3\n", "failed .exit 3"),
        ("kill -9 $$\n", "uv sync"),
    ],
)
def test_a_set_up_that_leaves_odd_things_or_fails_makes_no_environment(
    sync: Callable[..., Made], store: EnvironmentStore, leaves: str, words: str
) -> None:
    with pytest.raises(SetupRefused, match=words):
        sync(VENV + leaves)
    assert store.known() == []
    assert sync(VENV).record.files > 0


def test_files_that_a_requirements_file_names_are_part_of_what_an_environment_is_made_from(
    sync: Callable[..., Made],
) -> None:
    made = [
        sync(
            VENV,
            commands=("pip install -r needed.txt",),
            snapshot={"needed.txt": b"-r more.txt\n", "more.txt": more},
        ).record.digest
        for more in (b"good==1.0\n", b"evil==1.0\n", b"good==1.0\n")
    ]
    assert made[0] == made[2] != made[1]


def test_a_tree_too_large_or_too_deep_can_be_made_again_and_removed(
    sync: Callable[..., Made], store: EnvironmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = 'cd "$UV_PROJECT_ENVIRONMENT"; for i in $(seq 1500); do mkdir d; cd d; done; touch end\n'
    with pytest.raises(VerifierFault):
        sync(VENV + deep)
    with monkeypatch.context() as small_limit:
        small_limit.setattr(tree, "MOST_FILES", 5)
        with pytest.raises(VerifierFault, match="more than 5 files"):
            sync(VENV)
        assert store.collect(unused_seconds=-60.0)
    assert store.known() == [] and sync(VENV).record.files > 0


def test_a_set_up_sees_only_what_it_needs_and_changes_nothing_else(
    sync: Callable[..., Made], store: EnvironmentStore, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("nobody may read this")
    output = bytearray()
    sync(
        f"cat {tmp_path}/secret; echo y >> uv.lock; touch {store.folder}/other; echo id $(id -u); " + VENV,
        output,
    )
    text = output.decode()
    assert "nobody may read this" not in text and "No such file" in text
    assert "id 0" not in text
    assert not (store.folder / "other").exists()


def test_a_step_that_never_ends_is_killed(
    sync: Callable[..., Made], store: EnvironmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "STEP_SECONDS", 1.0)
    with pytest.raises(SetupRefused, match="took more than"):
        sync("trap '' TERM INT; while true; do sleep 1; done\n")
    assert store.known() == []


def test_a_step_that_fills_the_disk_is_killed_and_is_our_fault_to_mend(
    sync: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "LEAST_FREE_BYTES", 1 << 60)
    with pytest.raises(VerifierFault, match="of the disk") as full:
        sync("sleep 60\n")
    assert not isinstance(full.value, SetupRefused)
    monkeypatch.undo()
    monkeypatch.setattr(steps, "LEAST_FREE_FILES", 1 << 60)
    with pytest.raises(VerifierFault, match="of the disk"):
        sync("sleep 60\n")
