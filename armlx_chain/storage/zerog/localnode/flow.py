"""Learning of submissions from the chain: the Flow contract's ``Submit`` events, polled.

Invariants:

- Submissions are numbered 0, 1, 2, … without a gap, in the order of the chain.
- A block that is no longer canonical, or a chain that was set back, starts the reading over: nothing that
  was learned from a dropped block survives.
- While the chain does not answer, what was learned before stays readable.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from armlx_chain.errors import DevnetError, EndpointFault
from armlx_chain.storage.http import BoundedHttp
from armlx_chain.storage.jsonrpc import RpcEndpoint
from armlx_chain.storage.zerog.submission import SUBMIT_TOPIC, Submission, parse_submit_event
from armlx_chain.types import Address

__all__ = ["FlowWatcher"]

log = logging.getLogger(__name__)

_LOGS_LIMIT = 64 << 20
_BLOCKS_PER_CALL = 5000


class FlowWatcher:
    """A growing list of submissions.

    Args:
        rpc_url: JSON-RPC of the chain.
        flow: The Flow contract.
        confirmations: Blocks that must lie on top of an event's block.
        poll_seconds: Pause between two looks.
        on_change: Called (in the polling thread) after the list changed.
    """

    def __init__(
        self,
        *,
        rpc_url: str,
        flow: Address,
        http: BoundedHttp,
        confirmations: int,
        poll_seconds: float,
        on_change: Callable[[], None],
    ) -> None:
        self._rpc = RpcEndpoint(rpc_url, http)
        self._flow = flow
        self._confirmations = confirmations
        self._poll_seconds = poll_seconds
        self._on_change = on_change
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._submissions: list[Submission] = []
        self._by_root: dict[bytes, list[Submission]] = {}
        self._height = -1
        self._block_hash = "0x" + "00" * 32
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flow-watcher", daemon=True)
        self._complaint = ""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    # --- what was learned ------------------------------------------------------------------------------

    def by_seq(self, seq: int) -> Submission | None:
        with self._lock:
            return self._submissions[seq] if 0 <= seq < len(self._submissions) else None

    def by_root(self, root: bytes) -> list[Submission]:
        """All submissions of ``root``, in order."""
        with self._lock:
            return list(self._by_root.get(root, ()))

    def progress(self) -> tuple[int, str, int]:
        """Height and hash of the last block read, and the next submission's number."""
        with self._lock:
            return max(self._height, 0), self._block_hash, len(self._submissions)

    def chain_id(self) -> int:
        """The chain's id.

        Raises:
            EndpointFault: if the chain does not answer.
        """
        return int(str(self._rpc.call("eth_chainId", [])), 16)

    # --- reading -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.poll()
                self._complaint = ""
            except (EndpointFault, DevnetError) as error:
                if error.message != self._complaint:
                    log.warning("the chain cannot be read: %s", error.message)
                self._complaint = error.message
            self._stop.wait(self._poll_seconds)

    def poll(self) -> None:
        """Read what the chain has now.

        Raises:
            EndpointFault: if the chain does not answer properly.
            DevnetError: if its events make no sense.
        """
        with self._reading:
            head = self._quantity(self._rpc.call("eth_blockNumber", []), "block number") - self._confirmations
            if head < 0:
                return
            if self._height >= 0 and (head < self._height or self._hash_of(self._height) != self._block_hash):
                log.warning("the chain was set back: submissions are read anew")
                self._reset()
            while self._height < head:
                self._read(self._height + 1, min(self._height + _BLOCKS_PER_CALL, head))

    def _read(self, first: int, last: int) -> None:
        block_hash = self._hash_of(last)
        query = {
            "address": self._flow,
            "topics": ["0x" + SUBMIT_TOPIC.hex()],
            "fromBlock": hex(first),
            "toBlock": hex(last),
        }
        logs = self._rpc.call("eth_getLogs", [query], limit=_LOGS_LIMIT)
        if not isinstance(logs, list):
            raise DevnetError("eth_getLogs did not answer with a list.")
        found = [self._submission(entry) for entry in logs]
        if self._hash_of(last) != block_hash:
            return  # the chain moved in between: look again
        with self._lock:
            for submission in found:
                if submission.seq != len(self._submissions):
                    raise DevnetError(
                        f"Submission {submission.seq} came where {len(self._submissions)} was due."
                    )
                self._submissions.append(submission)
                self._by_root.setdefault(submission.root, []).append(submission)
            self._height, self._block_hash = last, block_hash
        if found:
            self._on_change()

    def _reset(self) -> None:
        with self._lock:
            self._submissions.clear()
            self._by_root.clear()
            self._height = -1
        self._on_change()

    def _submission(self, entry: Any) -> Submission:
        try:
            return parse_submit_event(bytes.fromhex(entry["data"].removeprefix("0x")))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DevnetError("The chain served a Submit event that cannot be read.") from error

    def _hash_of(self, height: int) -> str:
        block = self._rpc.call("eth_getBlockByNumber", [hex(height), False])
        if not isinstance(block, dict) or not isinstance(block.get("hash"), str):
            raise DevnetError(f"The chain has no block {height}.")
        return str(block["hash"])

    @staticmethod
    def _quantity(value: Any, what: str) -> int:
        try:
            return int(value, 16)
        except (TypeError, ValueError) as error:
            raise DevnetError(f"The chain answered with a {what} that is none.") from error
