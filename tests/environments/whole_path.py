"""The whole path with the small benchmark: lock, uv sync, prepare.py, train.py, trusted score.

    scripts/campaigns/environment [--wheels FOLDER] [--work FOLDER]

The packages (MLX, numpy, pyarrow, tiktoken and what they need) are fetched once with this machine's own pip,
or taken from --wheels; from then on everything comes from an index on this machine. The program runs offline,
by the interpreter of the environment that uv made in the sandbox.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from armlx_chain.devnet.benchmark.data import make_data
from armlx_chain.devnet.benchmark.project import protocol_document, snapshot_files
from armlx_chain.protocol.model import Protocol
from armlx_chain.protocol.parse import parse_protocol
from tests.environments.local_index import Index, locked, serve
from verifier.environments.building import Maker
from verifier.environments.fields import Place, terms_of
from verifier.environments.providing import PythonChoice, provide
from verifier.environments.shards import SeenRoots, check_manifest, make_manifest, roles_of
from verifier.environments.steps import Operator, operator_environ, run_data_steps
from verifier.environments.store import EnvironmentStore
from verifier.environments.uvtool import find_uv
from verifier.harness.constants import read_constants
from verifier.harness.logfacts import ProtocolLog
from verifier.model import Role
from verifier.rerun import Benchmark, HarnessRunner, RunSettings
from verifier.sandbox.select import default_sandbox

PACKAGES = ("mlx", "mlx-cpu", "numpy", "pyarrow", "tiktoken")


def say(text: str) -> None:
    """A line for a person."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@contextmanager
def timed(what: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    say(f"{time.monotonic() - start:8.2f} s  {what}")


def wheels(folder: Path) -> None:
    """Fetch the packages that this interpreter would need, as wheels."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--only-binary",
        ":all:",
        "--dest",
        str(folder),
    ]
    subprocess.run([*command, *PACKAGES], check=True, timeout=1200)


def protocol() -> Protocol:
    """The small benchmark's document with upstream's commands."""
    tree: dict[str, Any] = json.loads(
        protocol_document(baseline_notes="-", created_at="2026-11-22T00:00:00Z")
    )
    tree["environment"]["setupCommands"] = ["uv sync", "uv run prepare.py"]
    tree["environment"]["constraints"]["networkPolicy"] = "full"
    tree["execution"]["command"] = "uv run train.py"
    return parse_protocol(json.dumps(tree).encode())


def walk(work: Path, index: Index) -> None:
    """Every step, from the lock to the trusted score."""
    document, sandbox = protocol(), default_sandbox()
    environ = {**operator_environ(), "NO_PROXY": "127.0.0.1"}
    uv = find_uv(work / "tools", environ=environ, may_fetch=True)
    with timed(f"uv lock (uv {uv.version}) against the local index"):
        snapshot = {**snapshot_files(), **locked(uv.path, index, work / "locking", list(PACKAGES))}
    environ["ARMLX_UV"] = str(uv.path)
    store = EnvironmentStore(work / "environments")

    def maker(network: bool) -> Maker:
        operator = Operator(network=network, environ=environ)
        return Maker(store, sandbox, operator, tools=work / "tools", say=say)

    with timed("uv sync in the sandbox, cold"):
        made = maker(network=True).environment(document, snapshot)
    with timed("the same environment, warm, without network"):
        again = maker(network=False).environment(document, snapshot)
    if made is None or made != again:
        raise SystemExit("the environment was not found again")
    say(
        "            packages: "
        + ", ".join(f"{name} {version}" for name, version in made.record.packages.items())
    )
    choice = PythonChoice()
    provided = provide(document, snapshot, choice, home=work, sandbox=sandbox, say=say)
    run_under_harness(work, document, snapshot, provided.interpreter, sandbox)


def run_under_harness(work: Path, document: Protocol, snapshot: Any, interpreter: Any, sandbox: Any) -> None:
    data = work / "cache"
    make_data(data)
    with timed("uv run prepare.py: the data step, in the sandbox"):
        run_data_steps(
            document,
            snapshot,
            interpreter,
            sandbox=sandbox,
            operator=Operator(),
            data=data,
            work=work / "data-work",
            say=say,
            on_log=_echo(),
        )
    seen = SeenRoots(work / "seen.json")
    manifest = make_manifest(data, roles_of(snapshot["prepare.py"]), seen)
    if check_manifest(data, manifest, seen):
        raise SystemExit("the data changed")
    terms = terms_of(document, snapshot, read_constants(snapshot["prepare.py"]), place=Place.here())
    with timed("data checked, rows read"):
        benchmark = Benchmark.prepare(
            snapshot,
            data,
            manifest.entries,
            sandbox=sandbox,
            interpreter=interpreter,
            work=work / "benchmark",
        )
    settings = RunSettings(arguments=terms.program.arguments, protocol_wall_seconds=terms.hard_wall_seconds)
    runner = HarnessRunner(benchmark, sandbox, settings=settings, read_log=ProtocolLog(document))
    with timed("uv run train.py: the locked interpreter, offline, under the harness"):
        record = runner.run(
            Role.CONTROL, {}, run_folder=work / "run", deadline_seconds=None, seed=b"whole path"
        )
    log = (work / "run" / "run.log").read_text(errors="replace").replace("\r", "\n").strip().splitlines()
    say("".join(f"            | {line}\n" for line in log[-11:]).rstrip())
    say(f"            ending {record.ending}, trusted val_bpb {record.validation}, fresh {record.fresh}")


def _echo() -> Callable[[bytes], None]:
    def write(chunk: bytes) -> None:
        for line in chunk.decode("utf-8", "replace").splitlines():
            say(f"            | {line}")

    return write


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheels", type=Path, help="a folder of ready wheels, instead of fetching them")
    parser.add_argument("--work", type=Path, help="a new folder that is kept; else a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="armlx-whole-path-") as temporary, serve() as index:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        folder = options.wheels
        if folder is None:
            folder = work / "wheels"
            folder.mkdir(exist_ok=True)
            with timed("wheels fetched with pip"):
                wheels(folder)
        for path in sorted(folder.glob("*.whl")):
            index.add((path.name, path.read_bytes()))
        say(f"            the index holds {len(index.files)} wheels")
        walk(work, index)


if __name__ == "__main__":
    main()
