"""What a verdict leaves behind, in two layers of deterministic tar.

- The *bundle* is everything a verdict rests on: the case (what was compared, the rule's settings, the noise
  record, the records of all runs), the raw logs, the environment, the candidate and its signed evidence. Its
  root stands in the report, whose root the attestation signs: no byte of it can change unnoticed.
- The *pack* is one file to hand on: the bundle, the report, and the attestation where there is one.
- Both are read strictly: what is not listed, listed and not there, or of another length is refused.

::

    pack = VerdictPack.parse(data)            # bytes that hang together
    bundle = VerdictBundle.parse(pack.bundle)
    bundle.case.about.proposal_id, bundle.logs["pair-01-control"]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from armlx_chain.errors import FormatError
from armlx_chain.formats.bundle import CANDIDATE_LIMITS, TreeLimits, pack_tree, unpack_tree
from armlx_chain.formats.canonical import canonical_json, parse_canonical
from armlx_chain.formats.fields import Fields
from armlx_chain.formats.verdictcase import MAX_RUNS, Log, VerdictCase

__all__ = [
    "BUNDLE_LIMITS",
    "MAX_LOGS_BYTES",
    "MAX_REPORT_BYTES",
    "PACK_LIMITS",
    "VerdictBundle",
    "VerdictPack",
    "parse_report",
]

MAX_LOGS_BYTES: Final = 16 << 20
"""All logs of a bundle together; what comes after that is left out."""
MAX_REPORT_BYTES: Final = 4 << 20

BUNDLE_LIMITS: Final = TreeLimits(
    files=MAX_RUNS + 8, file_bytes=CANDIDATE_LIMITS.archive_bytes, total_bytes=32 << 20
)
PACK_LIMITS: Final = TreeLimits(files=3, file_bytes=BUNDLE_LIMITS.archive_bytes, total_bytes=48 << 20)

CASE, CANDIDATE, EVIDENCE, ENVIRONMENT = "case.json", "candidate.tar", "evidence.json", "environment.json"
BUNDLE, REPORT, ATTESTATION = "bundle.tar", "report.json", "attestation.json"

_ENVIRONMENT_KIND: Final = "armlx-environment-facts"


@dataclass(frozen=True, slots=True)
class VerdictBundle:
    """What a verdict rests on.

    Attributes:
        logs: Raw logs of the runs whose entry says that they are kept, by the run's name.
        candidate, evidence: The candidate's bundle and the miner's signed evidence, byte for byte.
        environment: Facts of the environment, by name.
    """

    case: VerdictCase
    logs: Mapping[str, bytes] = field(default_factory=dict)
    candidate: bytes | None = None
    evidence: bytes | None = None
    environment: Mapping[str, str] | None = None

    def encode(self) -> bytes:
        """The bundle's bytes.

        Raises:
            FormatError: something is not acceptable, or beyond the limits.
        """
        files = {CASE: self.case.encode()}
        files |= {log.path: self.logs[log.name] for log in self.case.logs if log.name in self.logs}
        if self.candidate is not None:
            files[CANDIDATE] = self.candidate
        if self.evidence is not None:
            files[EVIDENCE] = self.evidence
        if self.environment is not None:
            files[ENVIRONMENT] = canonical_json(
                {"facts": self.environment, "kind": _ENVIRONMENT_KIND, "version": 1}
            )
        data = pack_tree(files, BUNDLE_LIMITS)
        VerdictBundle.parse(data)
        return data

    @classmethod
    def parse(cls, data: bytes) -> VerdictBundle:
        """Read a bundle.

        Raises:
            FormatError: it is not canonical, or does not hold exactly what its case lists.
        """
        files = unpack_tree(data, BUNDLE_LIMITS)
        record = files.pop(CASE, None)
        if record is None:
            raise FormatError(f"The verdict's bundle holds no {CASE}.")
        case = VerdictCase.parse(record)
        logs = {log.name: _kept(log, files) for log in case.logs if log.why is None}
        candidate, evidence = files.pop(CANDIDATE, None), files.pop(EVIDENCE, None)
        facts = files.pop(ENVIRONMENT, None)
        if files:
            raise FormatError(f"The verdict's bundle holds {min(files)!a}, which its case does not list.")
        return cls(case, logs, candidate, evidence, None if facts is None else _facts(facts))


@dataclass(frozen=True, slots=True)
class VerdictPack:
    """A verdict in one file.

    Attributes:
        report: The canonical report, byte for byte as its root is signed.
        bundle: What it rests on.
        attestation: The signed attestation; or an unsigned one; or none.
    """

    report: bytes
    bundle: bytes
    attestation: bytes | None = None

    def encode(self) -> bytes:
        """The pack's bytes.

        Raises:
            FormatError: beyond the limits.
        """
        files = {REPORT: self.report, BUNDLE: self.bundle}
        if self.attestation is not None:
            files[ATTESTATION] = self.attestation
        return pack_tree(files, PACK_LIMITS)

    @classmethod
    def parse(cls, data: bytes) -> VerdictPack:
        """Read a pack; its parts are not read yet.

        Raises:
            FormatError: it is not canonical, or holds something else.
        """
        files = unpack_tree(data, PACK_LIMITS)
        strange = sorted(files.keys() - {REPORT, BUNDLE, ATTESTATION})
        missing = sorted({REPORT, BUNDLE} - files.keys())
        if strange or missing:
            what = f"holds {strange[0]!a}" if strange else f"holds no {missing[0]}"
            raise FormatError(f"This is not a verdict's pack: it {what}.")
        return cls(files[REPORT], files[BUNDLE], files.get(ATTESTATION))


def parse_report(data: bytes) -> dict[str, Any]:
    """The tree of a canonical report.

    Raises:
        FormatError: it is none.
    """
    tree = parse_canonical(data, what="The report", max_bytes=MAX_REPORT_BYTES)
    if not isinstance(tree, dict) or not isinstance(tree.get("evidence"), dict):
        raise FormatError("This is not a verdict's report.")
    return tree


def _kept(log: Log, files: dict[str, bytes]) -> bytes:
    data = files.pop(log.path, None)
    if data is None or len(data) != log.size:
        raise FormatError(f"{log.path} is missing in the verdict's bundle, or has another length.")
    return data


def _facts(data: bytes) -> dict[str, str]:
    what = "The environment"
    fields = Fields(parse_canonical(data, what=what), ("facts", "kind", "version"), what=what)
    fields.kind(_ENVIRONMENT_KIND)
    facts = fields.subtree("facts")
    if not isinstance(facts, dict) or not all(isinstance(value, str) for value in facts.values()):
        fields.fail("an object of texts is expected.", "facts")
    return facts
