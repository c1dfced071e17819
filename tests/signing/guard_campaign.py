"""The single-sign guard against a tiny reference over every short sequence of requests, and under contention.

Run by ``scripts/campaigns/guard``; the tests run a short form of both.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from armlx_chain.errors import GuardRefused
from armlx_chain.signing.guard import SCHEMA, GuardKey, SingleSignGuard, enter
from armlx_chain.types import Address, ProposalId

LEDGER = Address("0x701db5f8Ed847651209A438695dfe5520adD6A5A")
SIGNER = Address("0x90F79bf6EB2c4f870365E785982E1f101E93b906")
OTHER = Address("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
BASE = GuardKey(31337, b"\1" * 32, LEDGER, ProposalId(3), SIGNER)
KEYS = (
    BASE,
    replace(BASE, chain_id=16602),
    replace(BASE, genesis_hash=b"\2" * 32),
    replace(BASE, ledger=OTHER),
    replace(BASE, proposal_id=ProposalId(4)),
    replace(BASE, signer=OTHER),
    replace(BASE, ledger=Address(LEDGER.lower()), signer=Address(SIGNER.lower())),
)
"""One key, its neighbour in each component, and itself in another spelling."""
PAYLOADS = (b"approve", b"reject", b"")
Rule = Callable[[sqlite3.Connection, GuardKey, bytes], bool]


def reference(state: dict[str, bytes], key: GuardKey, payload: bytes) -> bool:
    """The rule in two lines: the first word stands, the same word again is fine."""
    name = f"{key.chain_id}/{key.genesis_hash.hex()}/{key.ledger}/{key.proposal_id}/{key.signer}".lower()
    return state.setdefault(name, payload) == payload


@dataclass
class Compared:
    """How many sequences were tried, and answers and whole states compared."""

    sequences: int = 0
    comparisons: int = 0


def every_sequence(length: int, rule: Rule = enter) -> Compared:
    """Every sequence of requests up to a length; each prefix is carried out once.

    Raises:
        AssertionError: guard and reference differ, with the sequence.
    """
    done = Compared()
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.executescript(SCHEMA)
        _below(database, {}, (), length, rule, done)
    return done


def _below(
    database: sqlite3.Connection,
    state: dict[str, bytes],
    path: tuple[tuple[int, int], ...],
    length: int,
    rule: Rule,
    done: Compared,
) -> None:
    for number, key in enumerate(KEYS):
        for word, payload in enumerate(PAYLOADS):
            sequence, expected = (*path, (number, word)), dict(state)
            database.execute("SAVEPOINT step")
            answer = rule(database, key, payload)
            done.sequences += 1
            done.comparisons += 2
            if answer != reference(expected, key, payload) or _state(database) != sorted(expected.values()):
                raise AssertionError(f"after {sequence}: {answer}, {_state(database)}, not {expected}")
            if len(sequence) < length:
                _below(database, expected, sequence, length, rule, done)
            database.execute("ROLLBACK TO step")
            database.execute("RELEASE step")


def _state(database: sqlite3.Connection) -> list[bytes]:
    return sorted(row[0] for row in database.execute("SELECT payload FROM verdicts"))


# --- wrong rules that the comparison must find -------------------------------------------------------------


def _forgets(component: str) -> Rule:
    """A rule that does not look at one component of the key."""
    same = {component: getattr(BASE, component)}
    return lambda database, key, payload: enter(database, replace(key, **same), payload)


def _overwrites(database: sqlite3.Connection, key: GuardKey, payload: bytes) -> bool:
    row = (*key.columns(), sha256(payload).digest(), payload)
    database.execute("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    return True


def _always_refuses_again(database: sqlite3.Connection, key: GuardKey, payload: bytes) -> bool:
    before = len(_state(database))
    return enter(database, key, payload) and len(_state(database)) > before


def _allows_nothing_empty(database: sqlite3.Connection, key: GuardKey, payload: bytes) -> bool:
    return bool(payload) and enter(database, key, payload)


def _minds_spelling(database: sqlite3.Connection, key: GuardKey, payload: bytes) -> bool:
    return enter(database, replace(key, chain_id=key.chain_id + key.ledger.islower()), payload)


WRONG_RULES: dict[str, Rule] = {
    **{f"forgets {c}": _forgets(c) for c in ("chain_id", "genesis_hash", "ledger", "proposal_id", "signer")},
    "overwrites": _overwrites,
    "refuses a repetition": _always_refuses_again,
    "refuses what is empty": _allows_nothing_empty,
    "minds the spelling": _minds_spelling,
}


# --- contention --------------------------------------------------------------------------------------------


def contend(path: Path, *, processes: int, threads: int, rounds: int) -> tuple[list[int], int]:
    """All threads of all processes ask for the same proposal at once, each with words of its own.

    Returns:
        How many were allowed in each round, and how many were refused in all.
    """
    spawn = multiprocessing.get_context("spawn")
    gate, answers = spawn.Barrier(processes * threads), spawn.Queue()
    workers = [
        spawn.Process(target=_contender, args=(path, number, threads, rounds, gate, answers))
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    found = [answers.get(timeout=3600) for _ in workers]
    for worker in workers:
        worker.join(60)
    allowed = [sum(counts[0][number] for counts in found) for number in range(rounds)]
    return allowed, sum(counts[1] for counts in found)


def _contender(path: Path, process: int, threads: int, rounds: int, gate: Any, answers: Any) -> None:
    lock, allowed, refused = threading.Lock(), [0] * rounds, [0]

    def run(thread: int) -> None:
        guard = SingleSignGuard(path, alarm=lambda _: None)
        for number in range(rounds):
            gate.wait(600)
            try:
                guard.check_and_insert(
                    replace(BASE, proposal_id=ProposalId(number)), b"%d/%d" % (process, thread)
                )
            except GuardRefused as error:
                if "Another verdict" in error.message:
                    with lock:
                        refused[0] += 1
            else:
                with lock:
                    allowed[number] += 1

    running = [threading.Thread(target=run, args=(thread,)) for thread in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    answers.put((allowed, refused[0]))


def _lines(length: int, processes: int, threads: int, rounds: int) -> Iterator[str]:
    for name, rule in WRONG_RULES.items():
        try:
            every_sequence(2, rule)
        except AssertionError:
            yield f"a guard that {name} is found out"
        else:
            raise SystemExit(f"a guard that {name} is not found out: the world is too small")
    started = time.monotonic()
    done = every_sequence(length)
    yield (
        f"{done.sequences:,} sequences of up to {length} requests, {done.comparisons:,} comparisons with the"
        f" reference, no difference, {time.monotonic() - started:.0f} s"
    )
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "guard.sqlite"
        allowed, refused = contend(path, processes=processes, threads=threads, rounds=rounds)
        guard = SingleSignGuard(path)
        kept, counted = len(guard.entries()), guard.refusals()
    asked = processes * threads * rounds
    if set(allowed) != {1} or refused + rounds != asked or (kept, counted) != (rounds, refused):
        raise SystemExit(f"allowed {allowed}, refused {refused}, kept {kept}, counted {counted}")
    yield (
        f"{processes} processes x {threads} threads x {rounds} rounds: one signature a round, {refused:,} of"
        f" {asked:,} requests refused and counted, {time.monotonic() - started:.0f} s"
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, default=5, help="requests in a sequence [default: 5]")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=200)
    given = parser.parse_args()
    for line in _lines(given.length, given.processes, given.threads, given.rounds):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
