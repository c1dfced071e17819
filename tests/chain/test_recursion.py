"""Nested brackets from a stranger end in an error, not in a dead process, whatever libraries did before."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration

PROGRAM = """
import sys
import web3, eth_account
import {module}
from armlx_chain.storage.jsonrpc import parse_json
assert sys.getrecursionlimit() <= 12_000, sys.getrecursionlimit()
try:
    parse_json(b"[" * 5_000_000)
except ValueError:
    print("refused")
"""


@pytest.mark.parametrize("module", ["armlx_chain.chain.rpc", "armlx_chain.signing.signer"])
def test_deeply_nested_json_is_refused_after_the_wallet_libraries_are_loaded(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(module=module)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "refused"), done.stderr[-500:]
