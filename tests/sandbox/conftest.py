"""What the sandbox's tests share: a back-end that really works here, and a look at what is left behind."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from armlx_chain.errors import SandboxUnavailable
from verifier.sandbox.interface import Sandbox

REQUIRED = os.environ.get("ARMLX_REQUIRE_SANDBOX") == "1"


def _missing(reason: str) -> None:
    if REQUIRED:
        pytest.fail(f"ARMLX_REQUIRE_SANDBOX=1, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def _working() -> str | None:
    """Why no sandbox can be started here; ``None`` if one can."""
    if sys.platform != "linux":
        return "bubblewrap is for Linux"
    from verifier.sandbox.bubblewrap import BubblewrapSandbox

    try:
        BubblewrapSandbox().check()
    except SandboxUnavailable as error:
        return " ".join(error.sentences())
    return None


@pytest.fixture
def sandbox(_working: str | None) -> Sandbox:
    if _working:
        _missing(_working)
    from verifier.sandbox.bubblewrap import BubblewrapSandbox

    return BubblewrapSandbox()


@pytest.fixture(params=["control groups", "polling"])
def either(request: pytest.FixtureRequest, _working: str | None) -> Sandbox:
    """Both ways of counting and bounding."""
    if _working:
        _missing(_working)
    from verifier.sandbox.bubblewrap import BubblewrapSandbox

    return BubblewrapSandbox(use_cgroups=request.param == "control groups")


@pytest.fixture(params=["control groups", "version two alone", "polling"])
def any_way(request: pytest.FixtureRequest, _working: str | None) -> Sandbox:
    """Every way of counting, bounding and stopping that this machine offers."""
    if _working:
        _missing(_working)
    from verifier.sandbox.bubblewrap import BubblewrapSandbox
    from verifier.sandbox.cgroups import create_group

    made = BubblewrapSandbox(use_cgroups=request.param != "polling")
    if request.param == "version two alone":
        made._hierarchies = [row for row in made._hierarchies if row.version == 2]
        group = create_group(memory_bytes=1 << 30, processes=64, hierarchies=made._hierarchies)
        if group is None:
            pytest.skip("no group of version 2 can be made here")
        group.close()
    return made


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No launcher of ours and no control group of ours outlives its test."""
    yield
    if sys.platform != "linux":
        return
    from verifier.sandbox.bubblewrap import _own_hierarchies
    from verifier.sandbox.cgroups import own_prefix
    from verifier.sandbox.procfs import all_pids, is_zombie, parent_pid, status_fields

    children = [pid for pid in all_pids() if parent_pid(pid) == os.getpid() and not is_zombie(pid)]
    assert [pid for pid in children if status_fields(pid).get("Name") == "bwrap"] == []
    groups = [path for row in _own_hierarchies() for path in row.folder.glob(f"{own_prefix()}*")]
    assert groups == []


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may pass (pytest's own is 0700)."""
    folder = Path(tempfile.mkdtemp(prefix="armlx-test-")).resolve()
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
