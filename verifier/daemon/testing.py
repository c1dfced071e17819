"""A candidate's test on this machine: begun once, continued with what it has, never drawn again.

- Undecided for want of pairs: the next pass, or the same one with a higher limit, goes on to 24 pairs.
- Killed, or stopped by a fault on this side: the next pass goes on after the last pair that ended; one whose
  candidate was under way counts as voided.
- The same subject under other conditions (another calibration, environment or seed): nothing is run while a
  pair counts. Where none counts the test may begin anew, after a fresh calibration if any was run.
- Another control for the same best (its bytes could not be had for a while, or can be had again): nothing is
  run. Whoever keeps the best's bundle could otherwise draw again by withdrawing it. Once the best itself
  moved, the test is another one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from armlx_chain.formats.canonical import canonical_json
from verifier.daemon.dossier import Dossier
from verifier.daemon.permits import Left, Sessions
from verifier.daemon.seed import Seed
from verifier.daemon.store import Finding
from verifier.daemon.testlog import Test, TestLog
from verifier.executors.interface import Bench
from verifier.judgement import Trial
from verifier.model import Noise, Outcome, Reason, Verdict
from verifier.report import to_tree
from verifier.verdict.case import Case, Rules, next_step, voided
from verifier.verdict.constants import ALLOWED_VOIDS, FIRST_LIMIT, LAST_LIMIT, RULE_ID
from verifier.verdict.earlier import Earlier
from verifier.verdict.plain import without_runs


class Tester:
    """Runs and continues tests.

    Args:
        folder_of: The report folder of a proposal.
        sessions: Asked before a session begins, and told of it.
        pairs: How many pairs a first session may run; later ones go on to 24.
    """

    def __init__(
        self,
        *,
        tests: TestLog,
        folder_of: Callable[[int], Path],
        sessions: Sessions,
        pairs: int = FIRST_LIMIT,
    ) -> None:
        self._tests = tests
        self._folder_of = folder_of
        self._sessions = sessions
        self._pairs = pairs

    def judge(self, bench: Bench, dossier: Dossier, seed: Seed, finding: Finding | None) -> Verdict | Left:
        """Begin or continue the test of a candidate that passed the checks before a run.

        Args:
            finding: What was recorded of the proposal before.

        Raises:
            VerifierFault: no calibration holds, or an earlier pair cannot be read again.
            PreconditionFailed, ContractRevert: the review was to be claimed first, and cannot be.
            Interrupted: the session was stopped; what had ended is kept.
        """
        number = dossier.proposal.id
        with self._sessions.measuring(bench):
            noise = bench.noise()
        subject, conditions = subject_of(bench, dossier), conditions_of(bench, noise, seed)
        test = self._tests.find(number)
        if test is None:
            self._tests.begin(number, subject, conditions)
        elif test.subject != subject:
            if (test.pairs or test.interrupted) and _goal(test.subject) == _goal(subject):
                return Left(
                    "its test was begun against another control for the same best; it waits until that "
                    "control can be had again, or the best moves"
                )
            self._tests.begin(number, subject, conditions)
        else:
            left = self._hindrance(test, conditions, finding, noise, bench)
            if left is not None:
                return left
            if not _alike(test.conditions, conditions):
                self._tests.begin(number, subject, conditions)
        return self._run(bench, dossier, seed, noise, finding)

    def _hindrance(
        self, test: Test, conditions: str, finding: Finding | None, noise: Noise, bench: Bench
    ) -> Left | None:
        is_same = _alike(test.conditions, conditions)
        if not test.pairs:
            is_spent = is_same and test.interrupted > ALLOWED_VOIDS and finding is not None
            return Left("its pairs were interrupted; it waits for a fresh calibration") if is_spent else None
        if not is_same:
            if _counted(test, finding) == 0:
                return None
            return Left(
                "its test was begun under another calibration, environment or seed; a test in which pairs "
                "counted never begins anew on this machine"
            )
        rules = Rules(pairs=LAST_LIMIT, control_is_baseline=bench.materials.control_is_baseline)
        step = next_step(Case(noise=noise, rules=rules, pairs=test.pairs))
        is_spent = isinstance(step, Verdict) and len(step.voided) == len(test.pairs)
        return Left("all pairs were voided; it waits for a fresh calibration") if is_spent else None

    def _run(
        self, bench: Bench, dossier: Dossier, seed: Seed, noise: Noise, finding: Finding | None
    ) -> Verdict | Left:
        number, limit = dossier.proposal.id, self._limit(finding)
        before = self._tests.find(number)
        further = 0 if before is None else _further(bench, noise, before, limit)
        if further:
            permitted = self._sessions.permit(dossier.proposal, bench, further)
            if isinstance(permitted, Left):
                return permitted
            limit += permitted - further
        session = self._tests.session(number)
        test = self._tests.find(number)
        earlier = Earlier(
            bench.subject(dossier.files, noise),
            () if test is None else test.pairs,
            0 if test is None else test.interrupted,
        )
        with self._sessions.session(dossier.proposal, bench) as progress:
            return bench.judge(
                Trial(
                    dossier.files,
                    noise,
                    seed.value,
                    run_folder=self._folder_of(number) / "sessions" / f"{session:03d}",
                    progress=progress,
                    pairs=limit,
                    earlier=earlier,
                    keeper=self._tests.keeper(number),
                )
            )

    def _limit(self, finding: Finding | None) -> int:
        return LAST_LIMIT if finding is not None and wants_pairs(finding.report) else self._pairs


def _further(bench: Bench, noise: Noise, test: Test, limit: int) -> int:
    """How many pairs that count a session may still run; none where what is kept decides already."""
    materials = bench.materials
    rules = Rules(
        pairs=limit,
        disadvantage=materials.disadvantage,
        control_is_baseline=materials.control_is_baseline,
    )
    case = Case(noise=noise, rules=rules, pairs=test.pairs, interrupted=test.interrupted)
    return 0 if isinstance(next_step(case), Verdict) else max(1, limit - len(test.pairs) + voided(case))


def wants_pairs(report: Mapping[str, Any]) -> bool:
    """Whether a recorded verdict is undecided for want of pairs alone, so that its test may be continued."""
    return (report.get("outcome"), report.get("reason")) == (
        Outcome.UNDECIDED.value,
        Reason.MORE_PAIRS_NEEDED.value,
    )


def subject_of(bench: Bench, dossier: Dossier) -> str:
    """What is compared with what; canonical text."""
    materials = bench.materials
    return canonical_json(
        {
            "candidate": str(dossier.candidate_root),
            "control": str(materials.control_root),
            "best": str(int(materials.project.best_score)),
            "snapshot": str(materials.snapshot_root),
            "benchmark": str(materials.benchmark_root),
        }
    ).decode()


def _goal(subject: str) -> dict[str, str]:
    """A subject without the control, which depends on what can be fetched today."""
    return {name: value for name, value in json.loads(subject).items() if name != "control"}


def circumstances(bench: Bench, seed: Seed) -> dict[str, str]:
    """What a verdict was reached on, for its report: one that is never signed has no other record of it."""
    materials = bench.materials
    return {
        "control-root": str(materials.control_root),
        "control-disadvantage": f"{materials.disadvantage:.9f}",
        "current-best": str(int(materials.project.best_score)),
        "evaluation-root": str(materials.benchmark_root),
        "evaluation-seed": f"0x{seed.value.hex()}",
        "evaluation-block": str(int(seed.block)),
    }


def conditions_of(bench: Bench, noise: Noise, seed: Seed) -> str:
    """Under what it is compared; canonical text."""
    measured = to_tree(without_runs(Reason.VERIFIER_FAULT, "", noise=noise))["noise"]
    return canonical_json(
        {
            "machine": bench.machine_id,
            "class": bench.hardware_class,
            "environment": bench.environment_digest,
            "rule": RULE_ID,
            "noise": hashlib.sha256(canonical_json(measured)).hexdigest(),
            "seed": seed.value.hex(),
        }
    ).decode()


def machine_of(conditions: str) -> str | None:
    """On which machine a test was begun; ``None`` where that was not written down yet.

    Only that machine continues it: its noise is no other machine's.
    """
    found = json.loads(conditions).get("machine")
    return found if isinstance(found, str) else None


def _alike(kept: str, now: str) -> bool:
    """Whether conditions are the same; those of tests from before machines had ids name none."""
    here = json.loads(now)
    return bool({"machine": here["machine"], **json.loads(kept)} == here)


def _counted(test: Test, finding: Finding | None) -> int:
    """How many of the kept pairs count; all of them where no verdict has said of these that some do not."""
    recorded = [] if finding is None else finding.report.get("pairs") or []
    kept = to_tree(replace(without_runs(Reason.VERIFIER_FAULT, ""), pairs=test.pairs))["pairs"]
    if [{**pair, "voided": False} for pair in recorded] != kept:
        return len(kept)  # the verdict was on other pairs, measured before these
    return sum(not pair["voided"] for pair in recorded)
