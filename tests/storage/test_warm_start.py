"""What a command that is served from the cache does not import: that is where its time would go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from armlx_chain.storage.cache import ContentCache
from armlx_chain.storage.zerog.merkle import root_of

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "protocol"))

from protocol_documents import document

pytestmark = pytest.mark.integration

PROTOCOL = document()
HEAVY = {
    "asyncio",
    "click.testing",
    "cryptography",
    "dask",
    "eth",
    "eth_abi",
    "eth_account",
    "eth_keys",
    "eth_typing",
    "eth_utils",
    "keyring",
    "llvmlite",
    "mlx",
    "numpy",
    "pyarrow",
    "requests",
    "sqlite3",
    "ssl",
    "urllib3",
    "verifier",
    "web3",
    "contracts_abi",
    "armlx_chain.chain",
    "armlx_chain.claims",
    "armlx_chain.signing",
    "armlx_chain.storage.http",
    "armlx_chain.storage.irys",
    "armlx_chain.storage.zerog.client",
}
PROGRAM = """
import json, sys
from armlx_chain.cli.main import cli, run
code = run(cli, json.loads(sys.argv[1]), name="armlx-chain")
print("\\n" + json.dumps([code, sorted(sys.modules)]))
"""


def imported(home: Path, *arguments: str) -> set[str]:
    """The modules that a whole command has imported at its end."""
    environment = {**os.environ, "ARMLX_HOME": str(home), "ARMLX_IRYS": "none"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env=environment,
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stderr
    return set(modules)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    ContentCache(folder / "cache").put(root_of(PROTOCOL), PROTOCOL)
    return folder


@pytest.mark.parametrize("offline", [(), ("--offline",)])
def test_a_protocol_from_the_cache_imports_no_network_no_chain_and_no_compiler(
    home: Path, offline: tuple[str, ...]
) -> None:
    assert imported(home, "fetch", str(root_of(PROTOCOL)), *offline) & HEAVY == set()


def test_raw_bytes_from_the_cache_import_no_model_of_protocols_either(home: Path) -> None:
    found = imported(home, "fetch", str(root_of(PROTOCOL)), "--raw")
    assert found & (HEAVY | {"pydantic", "re2", "armlx_chain.protocol"}) == set()


def test_the_cache_command_and_the_help_import_nothing_heavy(home: Path) -> None:
    assert imported(home, "cache", "show") & (HEAVY | {"pydantic"}) == set()
    assert imported(home, "--help") & (HEAVY | {"pydantic", "armlx_chain.storage.cache"}) == set()


def test_the_list_of_heavy_modules_would_be_noticed(home: Path, tmp_path: Path) -> None:
    """A miss does import the network: the test above looks at something that can happen."""
    program = "import armlx_chain.storage.network, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True
    )
    found = set(json.loads(done.stdout))
    assert {"requests", "urllib3", "ssl", "armlx_chain.storage.http"} <= found & HEAVY
