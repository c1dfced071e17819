"""A winner's bundle is kept and announced again before it is approved.

Otherwise a miner whose code became the best could withdraw it, and nobody could measure against it any more.
"""

from __future__ import annotations

import os
from pathlib import Path

from armlx_chain.errors import VerifierFault
from armlx_chain.storage.interface import Publisher
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import ProposalId, Root

BUNDLE = "candidate.tar"


def keep_bundle(folder: Path, bundle: bytes) -> None:
    """Keep a candidate's bundle in a proposal's report folder, whole or not at all.

    Raises:
        VerifierFault: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{BUNDLE}.part"
        with part.open("wb") as stream:
            stream.write(bundle)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(folder / BUNDLE)
    except OSError as error:
        raise VerifierFault(
            f"{folder / BUNDLE} cannot be written ({error.strerror}).",
            meaning="A candidate is approved only once its bundle is kept here.",
            next_step="Free some space.",
        ) from error


def announce_bundle(folder: Path, root: Root, proposal_id: ProposalId, publisher: Publisher) -> None:
    """Upload a kept bundle; where the network has it already, that costs nothing.

    Raises:
        VerifierFault: it is not kept here any more, or is not what its root says.
        StorageError, ChainError: it cannot be uploaded now.
    """
    try:
        data = (folder / BUNDLE).read_bytes()
    except OSError as error:
        raise VerifierFault(f"{folder / BUNDLE} cannot be read ({error.strerror}).") from error
    if root_of(data) != root:
        raise VerifierFault(f"{folder / BUNDLE} is not the candidate {root} any more.")
    publisher.publish(data, label=f"candidate of proposal {proposal_id}, announced again")
