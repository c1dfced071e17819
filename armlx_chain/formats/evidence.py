"""The evidence document: what ``benchmarkLogHash`` leads to.

Canonical JSON holding the claim, its signature and the roots of what backs it. From a proposal alone, anyone
can fetch the code, the claim, the signature and the logs, and check each against the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from armlx_chain.formats.canonical import canonical_json, parse_canonical
from armlx_chain.formats.claim import Claim
from armlx_chain.formats.fields import Fields
from armlx_chain.types import Root

__all__ = ["SIGNATURE_BYTES", "Evidence"]

_KIND = "armlx-evidence"
_WHAT = "The evidence"
_KEYS = ("claim", "controlLogRoot", "environmentRoot", "kind", "runLogRoot", "signature", "version")
SIGNATURE_BYTES = 65


@dataclass(frozen=True, slots=True)
class Evidence:
    """A signed claim and the roots of the run's files.

    The signature is not checked by reading; ``armlx_chain.signing.eip712.check_claim_signature`` does that.

    Attributes:
        claim: What the miner asserts.
        signature: r ‖ s ‖ v over the claim's digest.
        run_log_root, control_log_root: Roots of both logs, byte for byte.
        environment_root: Root of the environment record.
    """

    claim: Claim
    signature: bytes
    run_log_root: Root
    environment_root: Root
    control_log_root: Root

    def encode(self) -> bytes:
        """The canonical document.

        Raises:
            FormatError: if a field is not acceptable.
        """
        tree = {
            "claim": self.claim.to_json(),
            "controlLogRoot": str(self.control_log_root),
            "environmentRoot": str(self.environment_root),
            "kind": _KIND,
            "runLogRoot": str(self.run_log_root),
            "signature": "0x" + self.signature.hex(),
            "version": 1,
        }
        data = canonical_json(tree)
        Evidence.parse(data)
        return data

    @classmethod
    def parse(cls, data: bytes) -> Evidence:
        """Read an evidence document.

        Raises:
            FormatError: if it is not canonical or breaks a rule.
        """
        fields = Fields(parse_canonical(data, what=_WHAT), _KEYS, what=_WHAT)
        fields.kind(_KIND)
        return cls(
            claim=Claim.read(fields.subtree("claim")),
            signature=fields.hex_bytes("signature", SIGNATURE_BYTES),
            run_log_root=fields.root("runLogRoot", "0g"),
            environment_root=fields.root("environmentRoot", "0g"),
            control_log_root=fields.root("controlLogRoot", "0g"),
        )
