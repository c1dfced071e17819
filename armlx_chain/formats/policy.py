"""A validator's published policy: what it does not run, so that a miner knows before staking.

The contracts have no place for it. A policy is signed by its validator (EIP-712, in the domain of the
ledger), so it means something wherever it was found, and nothing once its signer is off the allow-list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from armlx_chain.formats.canonical import canonical_json, parse_canonical
from armlx_chain.formats.evidence import SIGNATURE_BYTES
from armlx_chain.formats.fields import Fields
from armlx_chain.formats.typed import DOMAIN_KEYS, Domain, Member, TypedData
from armlx_chain.types import Address, Tokens

__all__ = ["MAX_POLICY_BYTES", "PARTS_PER_MILLION", "POLICY_TYPE", "Policy", "SignedPolicy"]

_KIND, _SIGNED_KIND = "armlx-policy", "armlx-signed-policy"
_WHAT, _SIGNED_WHAT = "The policy", "The signed policy"
MAX_POLICY_BYTES: Final = 16_384
PARTS_PER_MILLION: Final = 1_000_000

POLICY_TYPE: Final[tuple[Member, ...]] = (
    ("address", "validator"),
    ("uint256", "minimumStake"),
    ("uint64", "largestStakePpm"),
    ("uint64", "openProposals"),
    ("uint64", "machineSeconds"),
    ("uint64", "issuedAt"),
)
_KEYS = tuple(name for _, name in POLICY_TYPE)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a validator runs.

    Attributes:
        domain: Chain and ledger it is about.
        validator: Who states it, and signs.
        minimum_stake: Fewest tokens of stake it runs a proposal for.
        largest_stake_ppm: Largest stake it runs, in millionths of the token's supply.
        open_proposals: How many open proposals of one miner in one project it looks at; 0 for any number.
        machine_seconds: Seconds of machine time it gives one project in a day; 0 for no limit.
        issued_at: Seconds since 1970, UTC; of two policies of one validator the later one counts.
    """

    domain: Domain
    validator: Address
    minimum_stake: Tokens
    largest_stake_ppm: int
    open_proposals: int
    machine_seconds: int
    issued_at: int

    def to_json(self) -> dict[str, object]:
        """The document as a tree."""
        message = {
            "issuedAt": self.issued_at,
            "largestStakePpm": self.largest_stake_ppm,
            "machineSeconds": self.machine_seconds,
            "minimumStake": str(self.minimum_stake),
            "openProposals": self.open_proposals,
            "validator": self.validator,
        }
        return {"domain": self.domain.to_json(), "kind": _KIND, "message": message, "version": 1}

    def encode(self) -> bytes:
        """The canonical document.

        Raises:
            FormatError: if a field is not acceptable.
        """
        data = canonical_json(self.to_json())
        Policy.read(parse_canonical(data, what=_WHAT, max_bytes=MAX_POLICY_BYTES))
        return data

    def typed_data(self) -> TypedData:
        """The message to sign.

        Raises:
            FormatError: if a field is not acceptable.
        """
        self.encode()
        message = {
            "validator": self.validator,
            "minimumStake": int(self.minimum_stake),
            "largestStakePpm": self.largest_stake_ppm,
            "openProposals": self.open_proposals,
            "machineSeconds": self.machine_seconds,
            "issuedAt": self.issued_at,
        }
        return TypedData(self.domain, "Policy", {"Policy": POLICY_TYPE}, message)

    @classmethod
    def read(cls, tree: Any) -> Policy:
        """Read a policy from the tree of a canonical document.

        Raises:
            FormatError: if it breaks a rule.
        """
        outer = Fields(tree, ("domain", "kind", "message", "version"), what=_WHAT)
        outer.kind(_KIND)
        fields = outer.child("message", _KEYS)
        policy = cls(
            domain=Domain.read(outer.child("domain", DOMAIN_KEYS)),
            validator=fields.address("validator"),
            minimum_stake=Tokens(fields.uint256("minimumStake")),
            largest_stake_ppm=fields.integer("largestStakePpm"),
            open_proposals=fields.integer("openProposals"),
            machine_seconds=fields.integer("machineSeconds"),
            issued_at=fields.integer("issuedAt"),
        )
        if policy.minimum_stake < 1:
            fields.fail("a stake is at least one token.", "minimumStake")
        if not 1 <= policy.largest_stake_ppm <= PARTS_PER_MILLION:
            fields.fail("a share lies between 1 and 1,000,000 millionths.", "largestStakePpm")
        return policy


@dataclass(frozen=True, slots=True)
class SignedPolicy:
    """What is published. ``armlx_chain.signing.eip712.check_policy_signature`` checks the signature."""

    policy: Policy
    signature: bytes

    def encode(self) -> bytes:
        """The canonical document.

        Raises:
            FormatError: if a field is not acceptable.
        """
        tree = {
            "kind": _SIGNED_KIND,
            "policy": self.policy.to_json(),
            "signature": "0x" + self.signature.hex(),
            "version": 1,
        }
        data = canonical_json(tree)
        SignedPolicy.parse(data)
        return data

    @classmethod
    def parse(cls, data: bytes) -> SignedPolicy:
        """Read a published policy.

        Raises:
            FormatError: if it is not canonical or breaks a rule.
        """
        tree = parse_canonical(data, what=_SIGNED_WHAT, max_bytes=MAX_POLICY_BYTES)
        fields = Fields(tree, ("kind", "policy", "signature", "version"), what=_SIGNED_WHAT)
        fields.kind(_SIGNED_KIND)
        return cls(Policy.read(fields.subtree("policy")), fields.hex_bytes("signature", SIGNATURE_BYTES))
