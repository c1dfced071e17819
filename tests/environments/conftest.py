"""A real sandbox, a real uv, a local index: what the set-up tests share."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from armlx_chain.errors import SandboxUnavailable, VerifierFault
from tests.environments.local_index import Index, locked, serve, wheel
from verifier.environments.building import Maker
from verifier.environments.steps import Operator
from verifier.environments.store import EnvironmentStore
from verifier.environments.uvtool import find_uv
from verifier.sandbox.interface import Sandbox
from verifier.sandbox.select import default_sandbox

TOOL = "VALUE = 7\n"


def _missing(variable: str, reason: str) -> None:
    if os.environ.get(variable) == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def uv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uv of this machine: named, pinned in the home folder, or beside this interpreter."""
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    try:
        environ = {**os.environ, "PATH": beside}
        return find_uv(Path.home() / ".armlx-chain" / "tools", environ=environ, may_fetch=False).path
    except VerifierFault as missing:
        _missing("ARMLX_REQUIRE_UV", missing.message)
        raise


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    try:
        found = default_sandbox()
        found.check()
    except SandboxUnavailable as problem:
        _missing("ARMLX_REQUIRE_SANDBOX", " ".join(problem.sentences()))
        raise
    return found


@pytest.fixture(scope="session")
def served() -> Iterator[Index]:
    with serve() as index:
        index.add(wheel("tinytool", "1.0", {"tinytool.py": TOOL}))
        yield index


@pytest.fixture
def index(served: Index) -> Iterator[Index]:
    """The served index; packages that a test adds stay, under names of their own."""
    served.asked.clear()
    served.broken.clear()
    yield served
    served.broken.clear()


@pytest.fixture(scope="session")
def lock(
    uv: Path, served: Index, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., dict[str, bytes]]:
    """Locks a project with these dependencies; the same ones are locked once."""

    @functools.cache
    def made(*names: str) -> dict[str, bytes]:
        return locked(uv, served, tmp_path_factory.mktemp("locking"), list(names))

    return lambda *names: dict(made(*names))


@pytest.fixture
def maker(sandbox: Sandbox, uv: Path, tmp_path: Path) -> Callable[..., Maker]:
    """A maker with one store per test; the operator allows the network unless told otherwise."""
    store = EnvironmentStore(tmp_path / "environments")

    def make(**allowed: Any) -> Maker:
        operator = Operator(
            **{"network": True, "environ": {"ARMLX_UV": str(uv), "UV_HTTP_RETRIES": "0"}, **allowed}
        )
        return Maker(store, sandbox, operator, tools=tmp_path / "tools", say=lambda _: None)

    return make


@pytest.fixture
def store(tmp_path: Path) -> EnvironmentStore:
    return EnvironmentStore(tmp_path / "environments")
