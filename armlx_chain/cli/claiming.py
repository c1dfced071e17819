"""What commands about claims and proposals share: reading the chain for them, policies, rewards, fees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from armlx_chain.errors import ClaimRefused, UsageError
from armlx_chain.types import Address, Wei

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from armlx_chain.chain.contracts import Proposal, ProposalLedger
    from armlx_chain.chain.fees import Fees
    from armlx_chain.cli.context import App, SignerChoice
    from armlx_chain.formats.policy import Policy
    from armlx_chain.formats.typed import Domain


def policy_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--policy``, any number of times."""
    return click.option(
        "--policy",
        "policies",
        multiple=True,
        envvar="ARMLX_POLICIES",
        help="A validator's published policy: file, folder, address or 0g: root."
        " [always read: the folder policies in the home]",
    )(command)


def require_proposal(ledger: ProposalLedger, proposal_id: int) -> Proposal:
    """The proposal of this id.

    Raises:
        UsageError: there is none.
    """
    found = ledger.find_proposal(proposal_id)
    if found is not None:
        return found
    count = ledger.proposal_count()
    known = f"ids run from 0 to {count - 1}" if count else "there is none yet"
    raise UsageError(f"There is no proposal {proposal_id}: {known}.")


def domain_of(app: App) -> Domain:
    """Where signatures of this network are valid."""
    from armlx_chain.formats.typed import Domain

    network = app.settings.network
    return Domain(network.chain_id, network.proposal_ledger)


def read_policies(app: App, sources: Sequence[str]) -> tuple[tuple[Policy, ...], tuple[str, ...]]:
    """The policies that count, and a sentence for each document that does not.

    Raises:
        UsageError, StorageError: a named source cannot be read.
    """
    from armlx_chain.chain.contracts import VerifierRegistry
    from armlx_chain.claims.policies import PolicyReader

    verifiers = VerifierRegistry(app.rpc, app.settings.network.verifier_registry)
    reader = PolicyReader(
        domain=domain_of(app),
        is_verifier=verifiers.is_verifier,
        storage=lambda: app.storage,
        folder=app.home / "policies",
    )
    return reader.read([part for source in sources for part in source.split(",") if part])


def reward_recipient(app: App, stated: str | None, miner: Address) -> Address:
    """Who receives the reward: as stated, or as set for this account with ``wallet set-reward``.

    Raises:
        ClaimRefused: neither; a zero address on the ledger would silently mean the miner's hot key.
        UsageError: it is no checksummed address, or the zero address.
    """
    from armlx_chain.signing.preferences import checked_address, reward_address

    if stated is not None:
        return checked_address(stated)
    kept = reward_address(app.home, miner)
    if kept is None:
        raise ClaimRefused(
            "Nobody is named to receive the reward.",
            meaning=f"The ledger would pay {miner}, whose key is on this machine. Nothing was sent.",
            next_step="Give --reward-recipient 0x…, or set one for good: armlx-chain wallet set-reward",
        )
    return kept


def present_fees(app: App) -> Fees:
    """What a transaction would offer per gas now, under the person's own cap."""
    from armlx_chain.chain.fees import plan_fees

    return plan_fees(
        base_fee=app.rpc.base_fee(), suggested_tip=app.rpc.suggested_tip(), cap=app.settings.max_fee
    )


def storage_price(app: App) -> Wei:
    """Wei for 256 bytes at the storage market.

    Raises:
        UsageError: the network has no storage to upload to.
    """
    from armlx_chain.storage.zerog.upload import RpcPriceReader

    network = app.settings.network
    if network.flow is None:
        raise UsageError(f"No storage to upload to is known on {network.name}.")
    return RpcPriceReader(network.rpc_url).price_per_sector(network.flow)


def account_address(app: App, key: SignerChoice, address: str | None) -> Address | None:
    """The account a person means, without its passphrase: named, given, or the only one there is.

    Raises:
        UsageError, SigningError: it is no address, or no such account.
    """
    from armlx_chain.cli.keys import find
    from armlx_chain.signing.accounts import list_accounts
    from armlx_chain.signing.keystore import inspect
    from armlx_chain.signing.preferences import checked_address

    if address is not None:
        return checked_address(address)
    if key.keystore is not None:
        return inspect(key.keystore).address
    if key.account is not None:
        return find(app.home / "keystores", key.account).address
    known = list_accounts(app.home / "keystores")
    return known[0].address if len(known) == 1 else None


def latest_time(app: App) -> int:
    """Timestamp of the latest block: the only clock that the contracts know."""
    return app.rpc.block("latest").timestamp


def project_ids(app: App) -> range:
    """All projects of the registry."""
    from armlx_chain.cli.wiring import registry_of

    return range(registry_of(app).project_count())
