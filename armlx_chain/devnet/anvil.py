"""Anvil as the devnet's chain, where it is installed.

Our own server stands in front of it, so that both engines have one surface: the same methods, no unlocked
accounts, the chain id enforced (anvil itself takes legacy transactions for any chain). Anvil's own words and
codes for refused transactions pass through unchanged.

- Anvil listens on a loopback port of its own and runs on a leash (:mod:`armlx_chain.devnet.leash`).
- Its state is written to the devnet's directory when it stops and every second before.
"""

from __future__ import annotations

import http.client
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from armlx_chain.devnet import leash
from armlx_chain.devnet.accounts import ACCOUNT_COUNT, INITIAL_BALANCE, TEST_MNEMONIC
from armlx_chain.devnet.node.evm import GAS_LIMIT
from armlx_chain.devnet.node.transactions import decode_transaction
from armlx_chain.devnet.rpc.client import RpcClient
from armlx_chain.devnet.rpc.jsonrpc import INTERNAL_ERROR, method_not_found
from armlx_chain.devnet.rpc.methods import METHODS
from armlx_chain.devnet.rpc.params import data, invalid
from armlx_chain.devnet.rpc.server import RpcServer
from armlx_chain.errors import DevnetError, DevnetRpcError

ANVIL_VARIABLE = "ARMLX_ANVIL"
STATE_NAME = "anvil-state.json"
START_SECONDS = 30.0
STOP_SECONDS = 30.0
STATE_INTERVAL_SECONDS = 1
CALL_SECONDS = 120.0
_LISTENING = re.compile(rb"Listening on 127\.0\.0\.1:(\d+)")


def find_anvil(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The anvil to use: ``$ARMLX_ANVIL`` if set, else the one on the PATH, else None.

    Raises:
        DevnetError: if ``$ARMLX_ANVIL`` is set but is not a program.
    """
    chosen = environment.get(ANVIL_VARIABLE)
    if chosen:
        if not os.access(chosen, os.X_OK) or not Path(chosen).is_file():
            raise DevnetError(f"{ANVIL_VARIABLE} is {chosen!r}, which is not a program.")
        return Path(chosen)
    found = shutil.which("anvil", path=environment.get("PATH", os.defpath))
    return None if found is None else Path(found)


class AnvilChain:
    """A running anvil. The counterpart of :class:`armlx_chain.devnet.rpc.embedded.EmbeddedChain`."""

    engine_name = "anvil"

    def __init__(
        self,
        directory: Path,
        *,
        chain_id: int,
        binary: Path,
        ports: Sequence[int] = (0,),
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Start anvil on its state in a directory, and serve on the first free one of several ports.

        Raises:
            DevnetError: if anvil does not start or no port is free.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self._chain_id = chain_id
        self._process = _start(_command(binary, chain_id, directory / STATE_NAME))
        self._idle: queue.SimpleQueue[http.client.HTTPConnection] = queue.SimpleQueue()
        try:
            self._port = _wait_for_port(self._process)
            anvil = RpcClient(f"http://127.0.0.1:{self._port}")
            _check_chain_id(anvil, chain_id)
            _restore_clock(anvil, int(wall()))
            self._server = RpcServer.on_first_free(self, ports)
        except BaseException:
            self._end_process()
            raise
        self._server.start()

    @property
    def url(self) -> str:
        return self._server.url

    def handle(self, method: str, params: list[Any]) -> Any:
        """Answer one JSON-RPC call; see :class:`armlx_chain.devnet.rpc.jsonrpc.Node`."""
        if method not in METHODS:
            raise method_not_found(method)
        if method == "eth_accounts":
            return []
        if method == "eth_sendRawTransaction":
            if len(params) != 1:
                raise invalid("want one argument, the transaction")
            decode_transaction(data(params[0], "transaction"), self._chain_id)
        return self._forward(method, params)

    def stop(self) -> None:
        """Stop serving; anvil writes its state and ends."""
        self._server.stop()
        while not self._idle.empty():
            self._idle.get().close()
        self._end_process()

    def _forward(self, method: str, params: list[Any]) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        try:
            reply = self._post(body)
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise DevnetRpcError(INTERNAL_ERROR, f"anvil does not answer: {exc}") from exc
        error = reply.get("error")
        if error is None:
            return reply.get("result")
        detail = error.get("data")
        raise DevnetRpcError(
            int(error["code"]), str(error["message"]), detail if isinstance(detail, str) else None
        )

    def _post(self, body: bytes) -> dict[str, Any]:
        """Send to anvil over a kept-alive connection; one that has gone stale is replaced once."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            return self._exchange(self._connect(), body)
        try:
            return self._exchange(connection, body)
        except ConnectionError:
            return self._exchange(self._connect(), body)

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=CALL_SECONDS)

    def _exchange(self, connection: http.client.HTTPConnection, body: bytes) -> dict[str, Any]:
        """One request; the connection is kept for the next one if it went well."""
        try:
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            reply: dict[str, Any] = json.loads(connection.getresponse().read())
        except BaseException:
            connection.close()
            raise
        self._idle.put(connection)
        return reply

    def _end_process(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()  # the leash stops anvil
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _check_chain_id(anvil: RpcClient, wanted: int) -> None:
    """A state file carries the id it was made with, and anvil takes that one without a word."""
    have = int(anvil.call("eth_chainId"), 16)
    if have != wanted:
        raise DevnetError(
            f"This devnet's chain has id {have}, not {wanted}.",
            next_step="Give the same chain id as before, or another directory.",
        )


def _restore_clock(anvil: RpcClient, now: int) -> None:
    """Anvil forgets how far its clock was moved, and would let time run backwards after a restart."""
    head = int(anvil.call("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
    if head > now:
        anvil.call("evm_increaseTime", head - now)


def _command(binary: Path, chain_id: int, state: Path) -> list[str]:
    options = {
        "--host": "127.0.0.1",
        "--port": "0",
        "--chain-id": str(chain_id),
        "--hardfork": "cancun",
        "--mnemonic": TEST_MNEMONIC,
        "--accounts": str(ACCOUNT_COUNT),
        "--balance": str(INITIAL_BALANCE // 10**18),
        "--gas-limit": str(GAS_LIMIT),
        "--state": str(state),
        "--state-interval": str(STATE_INTERVAL_SECONDS),
        # Nothing is reorganised here: what is latest is final, as in the embedded chain.
        "--slots-in-an-epoch": "0",
    }
    words = [str(binary), "--preserve-historical-states"]
    for name, value in options.items():
        words += [name, value]
    return words


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    script = str(Path(leash.__file__).resolve())
    try:
        return subprocess.Popen(
            [sys.executable, "-I", script, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # An interrupt at the terminal is for the devnet, which stops anvil in order.
            start_new_session=True,
        )
    except OSError as exc:
        raise DevnetError(f"anvil cannot be started: {exc}.") from exc


def _wait_for_port(process: subprocess.Popen[bytes]) -> int:
    """The port that anvil announces; its later output is read and dropped.

    Raises:
        DevnetError: if it ends or says nothing in time.
    """
    output = process.stdout
    if output is None:
        raise DevnetError("anvil was started without an output to read.")
    found: list[int] = []
    seen: list[bytes] = []
    ready = threading.Event()
    threading.Thread(
        target=_drain, args=(output, found, seen, ready), name="anvil-output", daemon=True
    ).start()
    ready.wait(START_SECONDS)
    if not found:
        said = b"".join(seen)[-500:].decode(errors="replace").strip()
        raise DevnetError(f"anvil did not start: {said or 'it said nothing'}.")
    return found[0]


def _drain(output: IO[bytes], found: list[int], seen: list[bytes], ready: threading.Event) -> None:
    with output:
        for line in output:
            if ready.is_set():
                continue
            seen.append(line)
            match = _LISTENING.search(line)
            if match:
                found.append(int(match.group(1)))
                ready.set()
    ready.set()
