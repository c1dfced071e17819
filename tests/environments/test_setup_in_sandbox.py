"""The whole set-up with a real uv in a real sandbox, from an index on this machine."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from armlx_chain.errors import SetupRefused, VerifierFault
from armlx_chain.protocol.model import Protocol
from tests.environments.local_index import Index, source_only, wheel
from tests.environments.test_fields import small
from verifier.environments.building import BasePython, Maker
from verifier.environments.commands import read_command
from verifier.environments.providing import PythonChoice, provide
from verifier.environments.steps import Operator, run_data_steps
from verifier.environments.store import EnvironmentStore, Made
from verifier.harness.inside import CACHE, HOME, WORKSPACE, Interpreter
from verifier.sandbox.interface import Mount, Sandbox, SandboxSpec
from verifier.sandbox.logs import MemoryLog

pytestmark = pytest.mark.integration

Lock = Callable[..., dict[str, bytes]]
Make = Callable[..., Maker]

PREPARE = b"""
import os, socket, sys, tinytool
folder = os.path.expanduser("~/.cache/autoresearch/data")
os.makedirs(folder, exist_ok=True)
with open(os.path.join(folder, "made.txt"), "w") as file:
    file.write(" ".join([str(tinytool.VALUE), *sys.argv[1:], *sorted(os.listdir("."))]))
try:
    socket.create_connection(("127.0.0.1", 1), timeout=5)
except ConnectionRefusedError:
    print("network")
except OSError:
    print("no network")
"""
TRAIN = b"""
import os, socket, sys, tinytool
print("value", tinytool.VALUE, sys.argv[1:])
print(open(os.path.expanduser("~/.cache/autoresearch/data/made.txt")).read())
for place in (tinytool.__file__, sys.prefix + "/new", os.path.expanduser("~/.cache/autoresearch/new")):
    try:
        open(place, "a").close()
        print("wrote", place)
    except OSError:
        pass
try:
    socket.create_connection(("127.0.0.1", 1), timeout=5)
except ConnectionRefusedError:
    print("network")
except OSError:
    print("offline")
"""


def uv_protocol(policy: str = "full", *commands: str) -> Protocol:
    return small(
        environment__setupCommands=list(commands) or ["uv sync", "uv run prepare.py --num-shards 2"],
        environment__constraints={"networkPolicy": policy, "noNewDependencies": True},
        execution__command="uv run train.py --depth 4",
    )


def require(made: Made | None) -> Made:
    assert made is not None
    return made


def test_set_up_then_data_then_the_program_offline(
    index: Index, lock: Lock, maker: Make, sandbox: Sandbox, store: EnvironmentStore, tmp_path: Path
) -> None:
    snapshot = {**lock("tinytool"), "prepare.py": PREPARE, "train.py": TRAIN}
    protocol = uv_protocol()
    made = require(maker().environment(protocol, snapshot))
    assert made.record.packages == {"tinytool": "1.0"}
    assert not os.access(made.folder, os.W_OK) or os.getuid() == 0

    data, output = tmp_path / "cache", bytearray()
    ran = run_data_steps(
        protocol,
        snapshot,
        Interpreter(made.python, {}),
        sandbox=sandbox,
        operator=Operator(network=True),
        data=data,
        work=tmp_path / "work",
        say=lambda _: None,
        on_log=output.extend,
    )
    assert ran == 1 and output == b"network\n"
    assert (
        data / "data/made.txt"
    ).read_text() == "7 --num-shards 2 prepare.py pyproject.toml train.py uv.lock"

    text = run_program(sandbox, made, snapshot, data, tmp_path, protocol)
    assert text.splitlines() == [
        "value 7 ['--depth', '4']",
        "7 --num-shards 2 prepare.py pyproject.toml train.py uv.lock",
        "offline",
    ]

    # From now on nothing is fetched: neither by the maker nor by anybody else.
    asked = list(index.asked)
    again = require(maker(network=False).environment(uv_protocol("offline"), snapshot))
    assert again == made and index.asked == asked
    assert store.check(made.record.digest) == made


def run_program(
    sandbox: Sandbox, made: Made, snapshot: dict[str, bytes], data: Path, place: Path, protocol: Protocol
) -> str:
    """The protocol's own command by the locked interpreter, as a run shows it: read-only, offline."""
    (place / "program").mkdir()
    for name, content in snapshot.items():
        (place / "program" / name).write_bytes(content)
    program = read_command(protocol.execution.command)
    spec = SandboxSpec(
        argv=[str(made.python), "-s", "-B", str(WORKSPACE / program.script), *program.arguments],
        env={"HOME": str(HOME), "PATH": "/usr/bin:/bin"},
        cwd=WORKSPACE,
        mounts=[Mount(place / "program", WORKSPACE), Mount(data, CACHE)],
        scratch=[HOME],
        python=[made.folder],
    )
    log = MemoryLog()
    with sandbox.start(spec, log) as process:
        ended = process.wait(60)
    assert ended is not None and ended.code == 0, log.text()
    return log.text()


# --- who must allow what ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "operator", "words"),
    [
        ("full", False, "the operator has not allowed it"),
        ("offline", True, "none is used, whoever allows it"),
        ("unknown", True, "none is used, whoever allows it"),
        ("sandbox", True, "none is used, whoever allows it"),
    ],
)
def test_network_needs_the_protocol_and_the_operator(
    lock: Lock, maker: Make, index: Index, policy: str, operator: bool, words: str
) -> None:
    snapshot = lock("tinytool")
    index.asked.clear()
    with pytest.raises(VerifierFault, match="needs the network") as refused:
        maker(network=operator).environment(uv_protocol(policy), snapshot)
    assert words in (refused.value.meaning or "")
    assert index.asked == []


def test_a_data_step_without_permission_has_no_network(
    lock: Lock, maker: Make, sandbox: Sandbox, tmp_path: Path
) -> None:
    snapshot = {**lock("tinytool"), "prepare.py": PREPARE}
    made = require(maker().environment(uv_protocol(), snapshot))
    for policy, allowed in (("full", False), ("offline", True)):
        output = bytearray()
        run_data_steps(
            uv_protocol(policy),
            snapshot,
            Interpreter(made.python, {}),
            sandbox=sandbox,
            operator=Operator(network=allowed),
            data=tmp_path / "cache",
            work=tmp_path / "work",
            say=lambda _: None,
            on_log=output.extend,
        )
        assert output == b"no network\n"


def test_a_host_that_is_not_on_the_protocols_list_is_not_asked(lock: Lock, maker: Make, index: Index) -> None:
    snapshot = lock("tinytool")
    index.asked.clear()
    listed = small(
        protocolVersion="1.1",
        environment__setupCommands=["uv sync"],
        environment__constraints={"networkPolicy": "full", "networkAllowlist": ["elsewhere.example"]},
    )
    with pytest.raises(SetupRefused, match="not on the protocol's network allow-list"):
        maker().environment(listed, snapshot)
    assert index.asked == []


# --- what a stranger's packages may do ----------------------------------------------------------------


def test_bytes_that_are_not_the_locked_ones_are_not_installed(
    lock: Lock, maker: Make, index: Index, store: EnvironmentStore
) -> None:
    snapshot = lock("tinytool")
    index.broken.update(index.files)
    with pytest.raises(SetupRefused, match="uv sync"):
        maker().environment(uv_protocol(), snapshot)
    assert store.known() == []
    index.broken.clear()
    assert require(maker().environment(uv_protocol(), snapshot)).record.packages == {"tinytool": "1.0"}


def test_a_package_that_would_be_built_needs_the_operators_word(
    lock: Lock, maker: Make, index: Index
) -> None:
    index.add(wheel("helper", "1.0", {"helper.py": ""}))
    snapshot = lock("helper")
    source = source_only("helper", "1.0")
    text = snapshot["uv.lock"].decode()
    start, end = text.index("wheels = ["), text.index("]\n", text.index("wheels = [")) + 2
    digest = hashlib.sha256(source[1]).hexdigest()
    sdist = f'sdist = {{ url = "{index.url}/files/{source[0]}", hash = "sha256:{digest}" }}\n'
    snapshot["uv.lock"] = (text[:start] + sdist + text[end:]).encode()
    index.asked.clear()
    with pytest.raises(SetupRefused, match="no wheel of helper") as refused:
        maker().environment(uv_protocol(), snapshot)
    assert "--allow-builds" in (refused.value.next_step or "")
    assert index.asked == []


def test_metadata_in_a_script_installs_nothing(
    lock: Lock, maker: Make, sandbox: Sandbox, index: Index, tmp_path: Path
) -> None:
    index.add(wheel("evil", "1.0", {"evil.py": "VALUE = 1\n"}))
    header = b'# /// script\n# dependencies = ["evil"]\n# ///\n'
    snapshot = {**lock("tinytool"), "prepare.py": header + b"import evil\n"}
    made = require(maker().environment(uv_protocol(), snapshot))
    index.asked.clear()
    with pytest.raises(SetupRefused, match="No module named 'evil'"):
        run_data_steps(
            uv_protocol(),
            snapshot,
            Interpreter(made.python, {}),
            sandbox=sandbox,
            operator=Operator(network=True),
            data=tmp_path / "cache",
            work=tmp_path / "work",
            say=lambda _: None,
        )
    assert index.asked == []


def test_the_projects_own_uv_settings_are_not_read(lock: Lock, maker: Make, tmp_path: Path) -> None:
    snapshot = lock("tinytool")
    snapshot["pyproject.toml"] += b'required-version = "==0.0.1"\n'
    snapshot["uv.toml"] = b'required-version = "==0.0.1"\n'
    assert require(maker().environment(uv_protocol(), snapshot)).record.packages == {"tinytool": "1.0"}


def test_a_lock_for_another_python_is_refused_before_anything_is_fetched(
    lock: Lock, index: Index, sandbox: Sandbox, uv: Path, store: EnvironmentStore, tmp_path: Path
) -> None:
    snapshot = lock("tinytool")
    index.asked.clear()
    old = Maker(
        store,
        sandbox,
        Operator(network=True, environ={"ARMLX_UV": str(uv)}),
        tools=tmp_path,
        say=lambda _: None,
        python=BasePython(BasePython.here().path, (3, 9, 0)),
    )
    with pytest.raises(SetupRefused, match=r"needs Python >=3\.11; this is 3\.9\.0"):
        old.environment(uv_protocol(), snapshot)
    assert index.asked == []


def test_an_mlx_without_its_library_is_said_before_anything_is_fetched(
    lock: Lock, maker: Make, index: Index
) -> None:
    index.add(wheel("mlx", "0.31.0", {"mlx/__init__.py": ""}))
    snapshot = lock("mlx==0.31.0")
    index.asked.clear()
    with pytest.raises(SetupRefused, match=r"mlx 0\.31\.0 without mlx-cpu"):
        maker().environment(uv_protocol(), snapshot)
    assert index.asked == []


def test_an_mlx_that_does_not_come_up_never_becomes_an_environment(
    lock: Lock, maker: Make, index: Index, store: EnvironmentStore
) -> None:
    index.add(wheel("mlx", "1.0", {"mlx/__init__.py": "", "mlx/core.py": "raise ImportError('no libmlx')\n"}))
    index.add(wheel("mlx_cpu", "1.0", {"mlx_cpu.py": ""}))
    snapshot = lock("mlx==1.0")
    extra = snapshot["uv.lock"].decode()
    block = extra[extra.index('[[package]]\nname = "mlx"') :].split("[[package]]\n")[1]
    snapshot["uv.lock"] = (
        extra + "\n[[package]]\n" + block.replace('name = "mlx"', 'name = "mlx-cpu"')
    ).encode()
    with pytest.raises(SetupRefused, match=r"import mlx\.core failed .*no libmlx"):
        maker().environment(uv_protocol(), snapshot)
    assert store.known() == []


# --- reuse --------------------------------------------------------------------------------------------


def test_two_at_once_make_it_once(lock: Lock, maker: Make, index: Index) -> None:
    snapshot = lock("tinytool")
    index.asked.clear()
    found: list[Made | None] = []
    threads = [
        threading.Thread(target=lambda: found.append(maker().environment(uv_protocol(), snapshot)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert len(found) == 2 and found[0] == found[1]
    assert sum(path.endswith(".whl") for path in index.asked) == 1


def test_an_environment_that_changed_is_not_used(lock: Lock, maker: Make, store: EnvironmentStore) -> None:
    snapshot = lock("tinytool")
    made = require(maker().environment(uv_protocol(), snapshot))
    module = next(made.folder.rglob("tinytool.py"))
    module.chmod(0o644)
    module.write_text("VALUE = 8\n")
    with pytest.raises(VerifierFault, match="has changed since it was made"):
        maker().environment(uv_protocol(), snapshot)
    assert store.remove(made.record.digest)
    assert require(maker().environment(uv_protocol(), snapshot)).record.packages == made.record.packages


def test_another_lock_is_another_environment(lock: Lock, maker: Make, index: Index) -> None:
    first = require(maker().environment(uv_protocol(), lock("tinytool")))
    index.add(wheel("second", "2.0", {"second.py": ""}))
    second = require(maker().environment(uv_protocol(), lock("tinytool", "second")))
    assert first.record.digest != second.record.digest
    assert second.record.packages == {"tinytool": "1.0", "second": "2.0"}


def test_requirements_with_digests_are_installed_and_without_are_not(
    maker: Make, index: Index, uv: Path
) -> None:
    digest = hashlib.sha256(index.files["tinytool-1.0-py3-none-any.whl"]).hexdigest()
    environ = {"ARMLX_UV": str(uv), "UV_DEFAULT_INDEX": f"{index.url}/simple"}
    protocol = uv_protocol("full", "pip install -r needed.txt")
    pinned = {"needed.txt": f"tinytool==1.0 --hash=sha256:{digest}\n".encode()}
    made = require(maker(environ=environ).environment(protocol, pinned))
    assert made.record.packages == {"tinytool": "1.0"}
    with pytest.raises(SetupRefused, match="uv pip"):
        maker(environ=environ).environment(protocol, {"needed.txt": b"tinytool==1.0\n"})


# --- which interpreter --------------------------------------------------------------------------------


def test_a_named_interpreter_wins_and_is_said_in_the_record(sandbox: Sandbox, tmp_path: Path) -> None:
    python = BasePython.here().path
    named = provide(
        uv_protocol(), {}, PythonChoice(python), home=tmp_path, sandbox=sandbox, say=lambda _: None
    )
    assert named.interpreter.executable == python
    assert named.facts == {"environment": "ready"} and named.notices


def test_a_set_up_that_installs_nothing_leaves_this_interpreter(sandbox: Sandbox, tmp_path: Path) -> None:
    own = provide(small(), {}, PythonChoice(), home=tmp_path, sandbox=sandbox, say=lambda _: None)
    assert own.interpreter.executable == PythonChoice().ready()
    assert own.facts == {} and own.notices == ()
    assert not (tmp_path / "environments").exists()


def test_uv_sync_without_a_lock_is_refused(maker: Make) -> None:
    with pytest.raises(SetupRefused, match=r"no uv\.lock"):
        maker().environment(uv_protocol(), {"pyproject.toml": b""})
