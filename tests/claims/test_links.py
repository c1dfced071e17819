"""Links for a person, on a network with an explorer and on one without."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from armlx_chain.cli.links import links_of
from armlx_chain.settings import Network, load_network
from armlx_chain.types import Root

pytestmark = pytest.mark.unit

ROOT = Root.parse("0g:0x" + "ab" * 32)


@pytest.fixture
def galileo(tmp_path: Path) -> Network:
    return load_network("galileo", home=tmp_path, env={"PATH": os.defpath})


def test_on_galileo_transaction_ledger_and_files_have_pages(galileo: Network) -> None:
    links = links_of(galileo, "0x" + "12" * 32, candidate=ROOT)
    explorer = "https://chainscan-galileo.0g.ai"
    assert links["transaction"] == f"{explorer}/tx/0x{'12' * 32}"
    assert links["ledger"] == f"{explorer}/address/{galileo.proposal_ledger}"
    assert links["candidate"].endswith(f"/file?root={ROOT.hex}")
    assert links["candidate"].startswith("https://indexer-storage-testnet-turbo.0g.ai")


def test_without_an_explorer_or_for_another_scheme_there_is_no_link(galileo: Network) -> None:
    bare = replace(galileo, explorer_url=None)
    assert set(links_of(bare, "0x12", candidate=ROOT)) == {"candidate"}
    assert links_of(bare, "0x12", candidate=Root("sha256", ROOT.digest)) == {}
