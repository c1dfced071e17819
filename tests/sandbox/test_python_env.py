"""Which files an interpreter needs inside, and that MLX really works there."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path, PurePosixPath

import pytest

from armlx_chain.errors import SandboxUnavailable
from tests.sandbox.support import AS_ROOT, run_inside
from verifier.sandbox.interface import Mount, Sandbox, SandboxSpec
from verifier.sandbox.logs import MemoryLog
from verifier.sandbox.python_env import follow, python_files, running_interpreter


def fake_base(folder: Path) -> Path:
    """Something that looks like a Python installation."""
    (folder / "bin").mkdir(parents=True)
    (folder / "lib/python3.12").mkdir(parents=True)
    (folder / "lib/python3.12/os.py").touch()
    interpreter = folder / "bin/python3.12"
    interpreter.write_text("#!/bin/sh\n")
    interpreter.chmod(0o755)
    return interpreter


def fake_venv(folder: Path, base: Path) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text(f"home = {base.parent}\n")
    (folder / "bin/python3").symlink_to(base)
    (folder / "bin/python").symlink_to("python3")
    return folder / "bin/python"


@pytest.mark.unit
def test_an_environment_and_its_base_are_shown_and_nothing_above_them(tmp_path: Path) -> None:
    base = fake_base(tmp_path / "closed/versions/3.12")
    python = fake_venv(tmp_path / "project/.venv", base)
    for given in (python, python.parent.parent):
        files = python_files(given, home=tmp_path / "home")
        assert set(files.shown) == {tmp_path / "closed/versions/3.12", tmp_path / "project/.venv"}
        assert files.interpreter == python
        assert files.links == ()


@pytest.mark.unit
def test_links_between_the_folders_are_made_again(tmp_path: Path) -> None:
    base = fake_base(tmp_path / "store/cpython-3.12.4")
    (tmp_path / "store/cpython-3.12").symlink_to("cpython-3.12.4")
    (tmp_path / "local").mkdir()
    (tmp_path / "local/python3.12").symlink_to("../store/cpython-3.12/bin/python3.12")
    python = fake_venv(tmp_path / "venv", tmp_path / "local/python3.12")
    files = python_files(python, home=tmp_path / "home")
    assert dict(files.links) == {
        tmp_path / "store/cpython-3.12": "cpython-3.12.4",
        tmp_path / "local/python3.12": "../store/cpython-3.12/bin/python3.12",
    }
    assert base.parent.parent in files.shown


@pytest.mark.unit
def test_a_home_folder_is_never_shown_as_a_whole(tmp_path: Path) -> None:
    base = fake_base(tmp_path / "home")
    with pytest.raises(SandboxUnavailable, match="whole home folder"):
        python_files(base, home=tmp_path / "home")
    with pytest.raises(SandboxUnavailable, match="whole home folder"):
        python_files(base, home=tmp_path / "home/someone")
    python = fake_venv(tmp_path / "other", fake_base(tmp_path / "base"))
    with pytest.raises(SandboxUnavailable, match="whole home folder"):
        python_files(python, home=tmp_path / "other/me")


@pytest.mark.unit
def test_what_is_no_interpreter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailable, match="no interpreter"):
        python_files(tmp_path / "none")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").touch()
    with pytest.raises(SandboxUnavailable, match="no standard library"):
        python_files(tmp_path / "bin/python")
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(SandboxUnavailable, match="too many symbolic links"):
        follow(tmp_path / "a/bin/python")


@pytest.mark.unit
def test_an_environment_made_with_a_strict_umask_is_refused_for_another_user(tmp_path: Path) -> None:
    base = fake_base(tmp_path / "base")
    python = fake_venv(tmp_path / "venv", base)
    python_files(python, home=tmp_path / "home", for_others=True)
    (tmp_path / "venv").chmod(0o700)
    with pytest.raises(SandboxUnavailable, match="readable for its owner only"):
        python_files(python, home=tmp_path / "home", for_others=True)
    python_files(python, home=tmp_path / "home", for_others=False)


@pytest.mark.unit
def test_following_agrees_with_the_system(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "c").symlink_to("a/./b/..")
    (tmp_path / "a/b/d").symlink_to(tmp_path / "c")
    (tmp_path / "a/file").touch()
    path = tmp_path / "a/b/d/b/../file"
    assert follow(path)[0] == path.resolve(strict=True)


@pytest.mark.integration
@pytest.mark.skipif(not AS_ROOT, reason="an ordinary user may read its own home")
def test_an_interpreter_below_a_closed_home_works_inside_and_its_modes_stay(
    sandbox: Sandbox, open_folder: Path
) -> None:
    closed = open_folder / "home"
    closed.mkdir(mode=0o700)
    environment = closed / "deep" / "venv"
    venv.create(environment, symlinks=True, with_pip=False)
    site = next(environment.glob("lib/python3*/site-packages"))
    (site / "only_here.py").write_text("value = 42\n")
    interpreter = environment / "bin/python"
    before = {path: path.stat().st_mode for path in (closed, closed / "deep", environment, Path.home())}
    log = MemoryLog()
    code = "import only_here, sys, os; print(only_here.value, sys.prefix, sys.version_info[:3])"
    spec = SandboxSpec(argv=[str(interpreter), "-c", code], python=[interpreter])
    with sandbox.start(spec, log) as process:
        process.wait(30)
    # The version too: without its own library the loader may pick up the system's Python.
    assert log.text().strip() == f"42 {environment} {tuple(sys.version_info[:3])}"
    assert {path: path.stat().st_mode for path in before} == before
    # By way of a second program: setpriv itself still has root's power when it starts the first.
    stranger = subprocess.run(
        [
            "setpriv",
            "--reuid",
            "12345",
            "--regid",
            "12345",
            "--clear-groups",
            "/bin/cat",
            environment / "pyvenv.cfg",
        ],
        capture_output=True,
        check=False,
    )
    assert stranger.returncode != 0, "outside, the folder is closed to other users"


@pytest.mark.integration
def test_the_environment_inside_is_the_one_outside(sandbox: Sandbox) -> None:
    code = "import sys, numpy; print(sys.prefix, sys.base_prefix, sys.version, numpy.__version__)"
    outside = subprocess.run(
        [running_interpreter(), "-I", "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    assert run_inside(sandbox, code).text == outside.stdout


MLX = """
import mlx.core as mx
import mlx.nn as nn
mx.random.seed(1)
model = nn.Sequential(nn.Embedding(64, 16), nn.Linear(16, 64))
tokens = mx.zeros((2, 8), dtype=mx.int32)
mx.export_function("/tmp/graph.mlxfn", lambda x: model(x), tokens)
call = mx.import_function("/tmp/graph.mlxfn")
logits = call(tokens)[0]
same = bool(mx.allclose(logits, model(tokens)).item())
gradient = mx.grad(lambda w: (w @ mx.ones((32, 32))).sum())(mx.ones((32, 32)))
print(same, logits.shape, (mx.ones((64, 64)) @ mx.ones((64, 64))).sum().item(), gradient[0, 0].item())
"""


@pytest.mark.integration
def test_mlx_multiplies_differentiates_and_exports_inside(sandbox: Sandbox) -> None:
    pytest.importorskip("mlx.core")
    inside = run_inside(sandbox, MLX)
    assert inside.text.strip() == "True (2, 8, 64) 262144.0 32.0"
    assert inside.exit.code == 0


@pytest.mark.integration
def test_the_projects_own_source_does_not_come_along_with_its_environment(sandbox: Sandbox) -> None:
    inside = run_inside(sandbox, "import verifier")
    assert "ModuleNotFoundError" in inside.text


@pytest.mark.integration
def test_a_strangers_link_in_the_environment_shows_nothing(sandbox: Sandbox, open_folder: Path) -> None:
    (open_folder / "secret").write_text("host secret")
    (open_folder / "shown").mkdir(mode=0o755)
    (open_folder / "shown/link").symlink_to(open_folder / "secret")
    code = "print(open('/shown/link').read())"
    inside = run_inside(sandbox, code, mounts=[Mount(open_folder / "shown", PurePosixPath("/shown"))])
    assert "FileNotFoundError" in inside.text
    shutil.rmtree(open_folder / "shown")
