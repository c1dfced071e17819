"""The case of a verdict: what was compared, what the rule was told, and everything that was measured.

The records of runs and the noise are trees here; what they mean is the verifier's matter. The document lies
in a verdict's bundle (``armlx_chain.formats.verdictpack``), beside the logs that it lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from armlx_chain.formats.canonical import canonical_json, parse_canonical
from armlx_chain.formats.fields import Fields, decimal_text
from armlx_chain.formats.typed import DOMAIN_KEYS, Domain
from armlx_chain.types import Address, BlockNumber, ProjectId, ProposalId, Root, ScaledScore

__all__ = [
    "MAX_LOG_BYTES",
    "MAX_RUNS",
    "About",
    "Log",
    "RuleInputs",
    "VerdictCase",
    "run_names",
]

MAX_LOG_BYTES: Final = 1 << 20
"""A longer log is left out: its digest stays, and whoever made it pays for no upload of ours."""
MAX_CASE_BYTES: Final = 4 << 20
MAX_RUNS: Final = 128

_KIND: Final = "armlx-verdict-case"
_WHAT: Final = "The verdict's case"
_KEYS = (
    "about", "interrupted", "kind", "logs", "noOp", "noise", "pairs", "program", "repeats", "rules",
    "version",
)  # fmt: skip
_ABOUT_KEYS = (
    "candidateRoot", "claimDigest", "controlRoot", "currentBest", "domain", "environmentDigest",
    "evaluationBlock", "evaluationRoot", "evaluationSeed", "genesisHash", "hardwareClass", "judgedAt",
    "metric", "projectId", "proposalId", "protocolRoot", "snapshotRoot", "validator",
)  # fmt: skip
_RULE_KEYS = ("controlIsBaseline", "disadvantage", "pairs", "projectMinimum")
_LOG_KEYS = ("kept", "name", "size", "why")
_LEFT_OUT = ("too-long", "too-many", "missing", "changed")
"""Why a log is not in the bundle: beyond a limit, not on the machine, or no longer what was measured."""


@dataclass(frozen=True, slots=True)
class About:
    """What was judged, where and with what. ``None``: it was not known when the judgement ended.

    Attributes:
        validator: Whose verdict it is; signed only where the pack holds its signature.
        judged_at: Seconds since 1970, UTC, of the chain.
        metric: Name and pattern by which the protocol reads a log.
        evaluation_seed, evaluation_block: What drew rows and probes.
    """

    domain: Domain
    genesis_hash: bytes
    proposal_id: ProposalId
    project_id: ProjectId
    validator: Address
    judged_at: int
    candidate_root: Root | None = None
    claim_digest: bytes | None = None
    control_root: Root | None = None
    current_best: ScaledScore | None = None
    protocol_root: Root | None = None
    snapshot_root: Root | None = None
    evaluation_root: Root | None = None
    evaluation_seed: bytes | None = None
    evaluation_block: BlockNumber | None = None
    hardware_class: str | None = None
    environment_digest: Root | None = None
    metric: tuple[str, str] | None = None

    def to_json(self) -> dict[str, object]:
        return {
            "candidateRoot": _text(self.candidate_root),
            "claimDigest": _hex(self.claim_digest),
            "controlRoot": _text(self.control_root),
            "currentBest": _text(self.current_best),
            "domain": self.domain.to_json(),
            "environmentDigest": _text(self.environment_digest),
            "evaluationBlock": self.evaluation_block,
            "evaluationRoot": _text(self.evaluation_root),
            "evaluationSeed": _hex(self.evaluation_seed),
            "genesisHash": _hex(self.genesis_hash),
            "hardwareClass": self.hardware_class,
            "judgedAt": self.judged_at,
            "metric": None if self.metric is None else {"name": self.metric[0], "pattern": self.metric[1]},
            "projectId": str(self.project_id),
            "proposalId": str(self.proposal_id),
            "protocolRoot": _text(self.protocol_root),
            "snapshotRoot": _text(self.snapshot_root),
            "validator": self.validator,
        }

    @classmethod
    def read(cls, fields: Fields) -> About:
        """Raises FormatError: a member breaks its rule."""
        seed, block = _optional_bytes(fields, "evaluationSeed"), _optional_count(fields, "evaluationBlock")
        return cls(
            domain=Domain.read(fields.child("domain", DOMAIN_KEYS)),
            genesis_hash=fields.hex_bytes("genesisHash", 32),
            proposal_id=ProposalId(fields.uint256("proposalId")),
            project_id=ProjectId(fields.uint256("projectId")),
            validator=fields.address("validator"),
            judged_at=fields.integer("judgedAt"),
            candidate_root=_optional_root(fields, "candidateRoot", "0g"),
            claim_digest=_optional_bytes(fields, "claimDigest"),
            control_root=_optional_root(fields, "controlRoot", "0g", "irys"),
            current_best=None if fields.is_null("currentBest") else ScaledScore(fields.int256("currentBest")),
            protocol_root=_optional_root(fields, "protocolRoot", "0g", "irys"),
            snapshot_root=_optional_root(fields, "snapshotRoot", "0g", "irys"),
            evaluation_root=_optional_root(fields, "evaluationRoot", "0g"),
            evaluation_seed=seed,
            evaluation_block=None if block is None else BlockNumber(block),
            hardware_class=None if fields.is_null("hardwareClass") else fields.text("hardwareClass"),
            environment_digest=_optional_root(fields, "environmentDigest", "sha256"),
            metric=_metric(fields),
        )


@dataclass(frozen=True, slots=True)
class RuleInputs:
    """What the rule was told besides the measurements.

    Attributes:
        pairs: Counted pairs after which it ends undecided.
        project_minimum, disadvantage: Bits per byte.
        control_is_baseline: The control is the unmodified snapshot.
    """

    pairs: int
    project_minimum: Decimal
    disadvantage: Decimal
    control_is_baseline: bool

    def to_json(self) -> dict[str, object]:
        return {
            "controlIsBaseline": self.control_is_baseline,
            "disadvantage": decimal_text(self.disadvantage),
            "pairs": self.pairs,
            "projectMinimum": decimal_text(self.project_minimum),
        }

    @classmethod
    def read(cls, fields: Fields) -> RuleInputs:
        """Raises FormatError: a member breaks its rule."""
        return cls(
            pairs=fields.integer("pairs"),
            project_minimum=fields.decimal("projectMinimum"),
            disadvantage=fields.decimal("disadvantage"),
            control_is_baseline=_truth(fields, "controlIsBaseline"),
        )


@dataclass(frozen=True, slots=True)
class Log:
    """A run's log: in the bundle, or why it is not.

    Attributes:
        name: ``pair-01-control``, ``repeat-01-candidate``: which run it is of.
        size: Bytes; ``None`` where nothing was there to be measured.
        why: ``None`` for a log that is in the bundle.
    """

    name: str
    size: int | None
    why: str | None = None

    @property
    def path(self) -> str:
        return f"logs/{self.name}.log"

    def to_json(self) -> dict[str, object]:
        return {"kept": self.why is None, "name": self.name, "size": self.size, "why": self.why}

    @classmethod
    def read(cls, fields: Fields) -> Log:
        """Raises FormatError: a member breaks its rule."""
        kept = _truth(fields, "kept")
        why = None if fields.is_null("why") else fields.text("why")
        if kept != (why is None) or (why is not None and why not in _LEFT_OUT):
            fields.fail("a log is kept, or there is a known reason why not.", "why")
        size = _optional_count(fields, "size")
        if kept and (size is None or size > MAX_LOG_BYTES):
            fields.fail(f"a log that is kept has at most {MAX_LOG_BYTES} bytes.", "size")
        return cls(fields.text("name", 64), size, why)


@dataclass(frozen=True, slots=True)
class VerdictCase:
    """Everything that was measured, and what the rule was asked.

    Attributes:
        program: Name and version of the program that judged.
        interrupted: Pairs that were begun and never ended.
        no_op: In what the candidate equals its control; ``None``: in nothing.
        noise: The noise record as a tree, with the scores of all calibration runs.
        pairs: For each pair the trees of its two runs, by role.
        repeats: Trees of the runs that repeated a failed audit.
        logs: One entry for each run: control and candidate of each pair, then the repeats.
    """

    about: About
    program: str
    rules: RuleInputs | None = None
    interrupted: int = 0
    no_op: str | None = None
    noise: Mapping[str, Any] | None = None
    pairs: tuple[Mapping[str, Any], ...] = ()
    repeats: tuple[Mapping[str, Any], ...] = ()
    logs: tuple[Log, ...] = ()

    def encode(self) -> bytes:
        """The canonical document.

        Raises:
            FormatError: if a field is not acceptable.
        """
        tree = {
            "about": self.about.to_json(),
            "interrupted": self.interrupted,
            "kind": _KIND,
            "logs": [log.to_json() for log in self.logs],
            "noOp": self.no_op,
            "noise": self.noise,
            "pairs": list(self.pairs),
            "program": self.program,
            "repeats": list(self.repeats),
            "rules": None if self.rules is None else self.rules.to_json(),
            "version": 1,
        }
        data = canonical_json(tree)
        VerdictCase.parse(data)
        return data

    @classmethod
    def parse(cls, data: bytes) -> VerdictCase:
        """Read a case.

        Raises:
            FormatError: if it is not canonical or breaks a rule.
        """
        fields = Fields(parse_canonical(data, what=_WHAT, max_bytes=MAX_CASE_BYTES), _KEYS, what=_WHAT)
        fields.kind(_KIND)
        case = cls(
            about=About.read(fields.child("about", _ABOUT_KEYS)),
            program=fields.text("program"),
            rules=None if fields.is_null("rules") else RuleInputs.read(fields.child("rules", _RULE_KEYS)),
            interrupted=fields.integer("interrupted"),
            no_op=None if fields.is_null("noOp") else fields.text("noOp", 16),
            noise=None if fields.is_null("noise") else _tree(fields, "noise"),
            pairs=_trees(fields, "pairs"),
            repeats=_trees(fields, "repeats"),
            logs=tuple(Log.read(item) for item in fields.children("logs", _LOG_KEYS, MAX_RUNS)),
        )
        if [log.name for log in case.logs] != list(case.run_names()):
            fields.fail("there must be one entry for each run, in order.", "logs")
        return case

    def run_names(self) -> Iterator[str]:
        """The names of all runs, in the order in which logs are listed."""
        return run_names(len(self.pairs), len(self.repeats))


def run_names(pairs: int, repeats: int) -> Iterator[str]:
    """Names of the runs of a session: of its pairs, control first, then of its repeats, candidate first."""
    for number in range(1, pairs + 1):
        yield from (f"pair-{number:02d}-control", f"pair-{number:02d}-candidate")
    for index in range(repeats):
        yield f"repeat-{index // 2 + 1:02d}-{'control' if index % 2 else 'candidate'}"


def _text(value: Root | int | None) -> str | None:
    return None if value is None else str(value)


def _hex(value: bytes | None) -> str | None:
    return None if value is None else "0x" + value.hex()


def _optional_root(fields: Fields, key: str, *schemes: str) -> Root | None:
    return None if fields.is_null(key) else fields.root(key, *schemes)


def _optional_bytes(fields: Fields, key: str) -> bytes | None:
    return None if fields.is_null(key) else fields.hex_bytes(key, 32)


def _optional_count(fields: Fields, key: str) -> int | None:
    return None if fields.is_null(key) else fields.integer(key)


def _truth(fields: Fields, key: str) -> bool:
    value = fields.subtree(key)
    if not isinstance(value, bool):
        fields.fail("true or false is expected.", key)
    return bool(value)


def _tree(fields: Fields, key: str) -> dict[str, Any]:
    tree = fields.subtree(key)
    if not isinstance(tree, dict):
        fields.fail("an object is expected.", key)
    return dict(tree)


def _trees(fields: Fields, key: str) -> tuple[dict[str, Any], ...]:
    items = fields.subtree(key)
    if not isinstance(items, tuple) or len(items) > MAX_RUNS or not all(isinstance(i, dict) for i in items):
        fields.fail(f"a list of at most {MAX_RUNS} objects is expected.", key)
    return items


def _metric(fields: Fields) -> tuple[str, str] | None:
    if fields.is_null("metric"):
        return None
    inner = fields.child("metric", ("name", "pattern"))
    name, pattern = inner.subtree("name"), inner.subtree("pattern")
    if not isinstance(name, str) or not isinstance(pattern, str):
        inner.fail("name and pattern are texts.")
    return name, pattern
