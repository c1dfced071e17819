"""Which keystore a name or an address means: exactly one, or an error that names every match."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from armlx_chain.errors import KeystoreError
from armlx_chain.signing.accounts import Account, find_account, foundry_folder, list_accounts
from armlx_chain.signing.keystore import create, import_key

pytestmark = pytest.mark.unit

KEY = "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"
ADDRESS = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"


def own(folder: Path, name: str) -> Path:
    return import_key(folder, name, lambda: KEY, lambda: "pw", work_factor=4).path


def foundrys(tmp_path: Path, name: str, *, states_address: bool = False) -> Path:
    """A file as ``cast wallet`` writes it: no suffix, no address, readable by all."""
    folder = foundry_folder(tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    made = own(tmp_path / "elsewhere", name)
    document = json.loads(made.read_text())
    if not states_address:
        del document["address"]
    (folder / name).write_text(json.dumps(document))
    (folder / name).chmod(0o644)
    made.unlink()
    return folder / name


def test_own_accounts_are_listed_first_and_everything_else_is_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "keystores"
    own(folder, "b")
    made = create(folder, "a", lambda: "pw", work_factor=4)
    (folder / "notes.json").write_text("{}")
    (folder / "c.txt").write_text("x")
    (folder / "folder.json").mkdir()
    path = foundrys(tmp_path, "alice")
    (path.parent / "README").write_text("not a keystore")
    assert [(a.name, a.address, a.origin, a.exposed) for a in list_accounts(folder, path.parent)] == [
        ("a", made.address, "own", False), ("b", ADDRESS, "own", False), ("alice", None, "foundry", True),
    ]  # fmt: skip
    assert [a.name for a in list_accounts(folder)] == ["a", "b"]
    assert list_accounts(tmp_path / "missing", tmp_path / "missing too") == ()


def test_accounts_are_found_by_name_and_by_address(tmp_path: Path) -> None:
    folder = tmp_path / "keystores"
    own(folder, "b")
    create(folder, "a", lambda: "pw", work_factor=4)
    for account in ("b", ADDRESS, ADDRESS.lower(), ADDRESS[2:]):
        assert find_account(account, folder).name == "b"
    with pytest.raises(KeystoreError, match="No keystore") as caught:
        find_account("nobody", folder)
    assert caught.value.next_step == "Known accounts: a, b."


def test_foundrys_accounts_are_found_by_their_file_name(tmp_path: Path) -> None:
    path = foundrys(tmp_path, "alice")
    found = find_account("alice", tmp_path / "keystores", path.parent)
    assert found == Account("alice", path, None, "foundry", exposed=True)


def test_a_name_in_both_folders_is_refused_and_both_files_are_named(tmp_path: Path) -> None:
    mine, theirs = own(tmp_path / "keystores", "me"), foundrys(tmp_path, "me")
    with pytest.raises(KeystoreError, match="Several") as caught:
        find_account("me", mine.parent, theirs.parent)
    assert str(mine) in caught.value.message
    assert str(theirs) in caught.value.message
    assert "--keystore" in (caught.value.next_step or "")


def test_an_address_in_two_files_is_refused(tmp_path: Path) -> None:
    mine = own(tmp_path / "keystores", "me")
    theirs = foundrys(tmp_path, "copy", states_address=True)
    with pytest.raises(KeystoreError, match="Several"):
        find_account(ADDRESS, mine.parent, theirs.parent)
    assert find_account("copy", mine.parent, theirs.parent).path == theirs


def test_a_name_that_looks_like_a_path_leaves_no_folder(tmp_path: Path) -> None:
    own(tmp_path / "keystores", "me")
    for account in ("../keystores/me", "/etc/passwd", "", ".", "me.json"):
        with pytest.raises(KeystoreError, match="No keystore"):
            find_account(account, tmp_path / "keystores")
