"""Several machines of one operator must agree before anything is signed.

- Every daemon writes an *opinion* on each verdict into a folder that the machines share: what it compared
  with what, what it found, its lower bound, and which machine measured.
- Opinions agree if they are on the same proposal, candidate, control, current best and rule, and found the
  same outcome for the same reason. Machines are counted, not files: two daemons in front of one machine are
  one.
- Nothing is signed before ``needed`` machines agree, this one among them. The lowest lower bound of those
  that agree is what is attested: a bound that one of the machines does not reach is not paid.
- The folder belongs to the operator. Whoever can write into it can pretend that a machine agrees, or keep one
  waiting, or lower a score; nobody can make this machine sign what it did not find itself.

::

    agreement = Agreement(folder, needed=2)
    agreement.state(Opinion(...))
    why = agreement.hindrance(own)         # None: sign, with agreement.lowest(own)
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from armlx_chain.errors import FormatError, UsageError, VerifierFault
from armlx_chain.formats.attestation import Attestation
from armlx_chain.formats.canonical import canonical_json, parse_canonical
from armlx_chain.formats.fields import Fields, decimal_text
from armlx_chain.formats.typed import DOMAIN_KEYS, Domain
from armlx_chain.formats.verdictpack import parse_report
from armlx_chain.privatefile import replace_private
from armlx_chain.types import ProposalId, Root, ScaledScore

__all__ = ["MACHINE_FACT", "Agreement", "Opinion"]

log = logging.getLogger(__name__)

MACHINE_FACT: Final = "machine"
"""Name of the report's fact that says which of the operator's machines measured."""
MAX_OPINION_BYTES: Final = 4096
MAX_OPINIONS: Final = 256
"""Of one proposal: more files than an operator has machines are not read."""

_KIND: Final = "armlx-opinion"
_WHAT: Final = "The opinion"
_KEYS = (
    "candidateRoot", "controlRoot", "currentBest", "decidedAt", "domain", "genesisHash", "kind", "lowerBound",
    "machine", "outcome", "proposalId", "reason", "ruleId", "version",
)  # fmt: skip
_MACHINE = re.compile(r"[0-9a-f]{16}")
_WRITABLE_BY_ALL: Final = 0o002


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one machine found.

    Attributes:
        machine: Which one: 16 hexadecimal digits.
        lower_bound: L, bits per byte; ``None`` where the test gave none.
        decided_at: Seconds since 1970, UTC, of the chain.
    """

    domain: Domain
    genesis_hash: bytes
    proposal_id: ProposalId
    candidate_root: Root
    control_root: Root
    current_best: ScaledScore
    rule_id: str
    outcome: str
    reason: str
    lower_bound: Decimal | None
    machine: str
    decided_at: int

    @classmethod
    def of(cls, attestation: Attestation, report: bytes) -> Opinion:
        """The opinion behind an attestation that is not signed yet.

        Raises:
            FormatError: the report does not say which machine measured.
        """
        tree = parse_report(report)
        machine, bound = tree["evidence"].get(MACHINE_FACT), tree.get("lower_bound")
        if not isinstance(machine, str) or _MACHINE.fullmatch(machine) is None:
            raise FormatError("The report does not say which machine measured.")
        return cls(
            domain=attestation.domain,
            genesis_hash=attestation.genesis_hash,
            proposal_id=attestation.proposal_id,
            candidate_root=attestation.candidate_root,
            control_root=attestation.control_root,
            current_best=attestation.current_best,
            rule_id=attestation.rule_id,
            outcome=attestation.outcome,
            reason=attestation.reason,
            lower_bound=None if bound is None else Decimal(bound),
            machine=machine,
            decided_at=attestation.decided_at,
        )

    def is_on_the_same(self, other: Opinion) -> bool:
        """Whether both judged the same candidate against the same control, at the same best."""
        return self._basis() == other._basis()

    def agrees_with(self, other: Opinion) -> bool:
        """Whether both found the same, on the same basis."""
        return self.is_on_the_same(other) and (self.outcome, self.reason) == (other.outcome, other.reason)

    def _basis(self) -> tuple[object, ...]:
        return (
            self.domain, self.genesis_hash, self.proposal_id, self.candidate_root, self.control_root,
            int(self.current_best), self.rule_id,
        )  # fmt: skip

    def encode(self) -> bytes:
        """The canonical document.

        Raises:
            FormatError: if a field is not acceptable.
        """
        tree = {
            "candidateRoot": str(self.candidate_root),
            "controlRoot": str(self.control_root),
            "currentBest": str(self.current_best),
            "decidedAt": self.decided_at,
            "domain": self.domain.to_json(),
            "genesisHash": "0x" + self.genesis_hash.hex(),
            "kind": _KIND,
            "lowerBound": None if self.lower_bound is None else decimal_text(self.lower_bound),
            "machine": self.machine,
            "outcome": self.outcome,
            "proposalId": str(self.proposal_id),
            "reason": self.reason,
            "ruleId": self.rule_id,
            "version": 1,
        }
        data = canonical_json(tree)
        Opinion.parse(data)
        return data

    @classmethod
    def parse(cls, data: bytes) -> Opinion:
        """Read an opinion.

        Raises:
            FormatError: if it is not canonical or breaks a rule.
        """
        tree: Any = parse_canonical(data, what=_WHAT, max_bytes=MAX_OPINION_BYTES)
        fields = Fields(tree, _KEYS, what=_WHAT)
        fields.kind(_KIND)
        machine = fields.text("machine")
        if _MACHINE.fullmatch(machine) is None:
            fields.fail("a machine's id is expected.", "machine")
        return cls(
            domain=Domain.read(fields.child("domain", DOMAIN_KEYS)),
            genesis_hash=fields.hex_bytes("genesisHash", 32),
            proposal_id=ProposalId(fields.uint256("proposalId")),
            candidate_root=fields.root("candidateRoot", "0g"),
            control_root=fields.root("controlRoot", "0g", "irys"),
            current_best=ScaledScore(fields.int256("currentBest")),
            rule_id=fields.text("ruleId"),
            outcome=fields.text("outcome"),
            reason=fields.text("reason"),
            lower_bound=None if fields.is_null("lowerBound") else fields.decimal("lowerBound"),
            machine=machine,
            decided_at=fields.integer("decidedAt"),
        )


class Agreement:
    """The opinions in one folder.

    Args:
        folder: Shared by the operator's machines, made where it is missing.
        needed: How many machines must agree, this one included.

    Raises:
        UsageError: everybody on this machine can write into the folder.
    """

    def __init__(self, folder: Path, *, needed: int) -> None:
        self._folder = folder
        self.needed = needed
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            mode = folder.stat().st_mode
        except OSError as error:
            raise UsageError(f"{folder} cannot be used for opinions ({error.strerror}).") from error
        if mode & _WRITABLE_BY_ALL:
            raise UsageError(
                f"Everybody can write into {folder}.",
                meaning="Whoever writes opinions there decides with this operator's machines.",
                next_step=f"chmod o-w {folder}",
            )

    def state(self, opinion: Opinion) -> None:
        """Write this machine's opinion; it replaces the one it had on the proposal.

        Raises:
            VerifierFault: it cannot be written.
            FormatError: a figure is none that documents can hold.
        """
        path = self._folder / self._name(opinion)
        data = opinion.encode()
        try:
            if not path.exists() or path.read_bytes() != data:
                replace_private(path, data)
        except OSError as error:
            raise VerifierFault(
                f"{path} cannot be written ({error.strerror}).",
                meaning="Nothing is signed before the other machines can see what this one found.",
                next_step="Make the folder of --opinions writable again.",
            ) from error

    def hindrance(self, own: Opinion) -> str | None:
        """Why nothing may be signed yet; ``None`` once enough machines agree.

        Raises:
            VerifierFault: the folder cannot be used.
        """
        self.state(own)
        found = tuple(self._opinions(own))
        agreeing = {opinion.machine for opinion in found if opinion.agrees_with(own)}
        if own.machine in agreeing and len(agreeing) >= self.needed:
            return None
        others = {
            opinion for opinion in found if opinion.is_on_the_same(own) and not opinion.agrees_with(own)
        }
        said = "".join(
            f"; machine {opinion.machine} found {opinion.outcome} ({opinion.reason})"
            for opinion in sorted(others, key=lambda opinion: opinion.machine)
        )
        return (
            f"{own.outcome} on this machine; {len(agreeing)} of the {self.needed} machines that must agree "
            f"say so{said}"
        )

    def lowest(self, own: Opinion) -> Decimal | None:
        """The least lower bound of the machines that agree.

        Raises:
            VerifierFault: fewer of them agree than when ``hindrance`` was asked, or the folder is gone.
        """
        agreeing = [opinion for opinion in self._opinions(own) if opinion.agrees_with(own)]
        if len({own.machine, *(opinion.machine for opinion in agreeing)}) < self.needed:
            raise VerifierFault(
                "A machine that agreed a moment ago does not any more.",
                meaning="The lowest bound of those that agree is not known, so nothing was signed.",
                next_step="Nothing; the machines are asked again in the next pass.",
            )
        bounds = [opinion.lower_bound for opinion in (own, *agreeing) if opinion.lower_bound is not None]
        return min(bounds, default=None)

    def _name(self, opinion: Opinion) -> str:
        return f"{self._stem(opinion)}{opinion.machine}.json"

    def _stem(self, opinion: Opinion) -> str:
        domain = opinion.domain
        return f"{domain.chain_id}-{domain.ledger.lower()}-{opinion.proposal_id}-"

    def _opinions(self, own: Opinion) -> Iterator[Opinion]:
        """Every readable opinion on the proposal; what is none is said and passed over."""
        stem = self._stem(own)
        try:
            names = sorted(path.name for path in self._folder.iterdir() if path.name.startswith(stem))
        except OSError as error:
            raise VerifierFault(f"{self._folder} cannot be read ({error.strerror}).") from error
        for name in names[:MAX_OPINIONS]:
            opinion = self._read(name)
            if opinion is not None and self._name(opinion) == name:
                yield opinion

    def _read(self, name: str) -> Opinion | None:
        path = self._folder / name
        try:
            # A link could lead anywhere, and a pipe would be waited for.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with contextlib.closing(os.fdopen(descriptor, "rb")) as file:
                return Opinion.parse(file.read(MAX_OPINION_BYTES + 1))
        except (OSError, FormatError) as error:
            log.warning("%s is no opinion: %s", path, error)
            return None
