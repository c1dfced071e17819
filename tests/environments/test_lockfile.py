"""A lock file is a stranger's: what may be installed from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlx_chain.errors import SetupRefused
from verifier.environments.lockfile import read_lock, satisfies, usable_mlx

pytestmark = pytest.mark.unit

HASH = "sha256:" + "ab" * 32
HEAD = 'version = 1\nrevision = 3\nrequires-python = ">=3.10, <3.14"\n'
OWN = '[[package]]\nname = "project"\nversion = "0.1.0"\nsource = { virtual = "." }\n'


def package(
    name: str = "mlx", source: str = '{ registry = "https://index.example/simple" }', files: str | None = None
) -> str:
    wheel = (
        files
        if files is not None
        else f'wheels = [{{ url = "https://files.example/{name}.whl", hash = "{HASH}" }}]'
    )
    return f'[[package]]\nname = "{name}"\nversion = "1.0"\nsource = {source}\n{wheel}\n'


def lock(*packages: str) -> bytes:
    return (HEAD + OWN + "".join(packages)).encode()


def test_registry_packages_with_digests_pass() -> None:
    found = read_lock(lock(package("mlx"), package("numpy")))
    assert [item.name for item in found.packages] == ["mlx", "numpy"]
    assert found.hosts == {"files.example"}
    assert found.requires_python == ">=3.10, <3.14"
    assert found.built == () and found.foreign == ()


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (package(source='{ git = "https://evil.example/x?rev=1#1" }'), "comes from git"),
        (package(source='{ url = "https://evil.example/x.whl" }'), "comes from url"),
        (package(source='{ path = "wheels/x.whl" }'), "comes from path"),
        (package(source='{ directory = "../x" }'), "comes from directory"),
        (package(source='{ editable = "../x" }'), "comes from editable"),
        (package(source='{ registry = "a", git = "b" }'), "no plain source"),
        (package(files='wheels = [{ url = "https://files.example/x.whl" }]'), "no SHA-256"),
        (
            package(files=f'wheels = [{{ url = "https://files.example/x.whl", hash = "md5:{"ab" * 16}" }}]'),
            "no SHA-256",
        ),
        (package(files=f'wheels = [{{ url = "http://files.example/x.whl", hash = "{HASH}" }}]'), "not https"),
        (package(files=f'wheels = [{{ url = "ftp://files.example/x.whl", hash = "{HASH}" }}]'), "not https"),
        (package(files=f'wheels = [{{ url = "file:///etc/passwd", hash = "{HASH}" }}]'), "not plain"),
        (
            package(files=f'wheels = [{{ url = "https://me:pw@files.example/x", hash = "{HASH}" }}]'),
            "not plain",
        ),
        (package(files=f'wheels = [{{ url = "https://[bad/x", hash = "{HASH}" }}]'), "not plain"),
        (package(files="wheels = [3]"), "no table"),
        (package(files=""), "no files"),
        (package(name="../x"), "no plain name"),
    ],
)
def test_anything_else_is_refused_by_the_package(broken: str, why: str) -> None:
    with pytest.raises(SetupRefused, match=why):
        read_lock(lock(package("numpy"), broken))


def test_the_operator_may_allow_other_sources_but_never_files_without_digests() -> None:
    foreign = package(source='{ git = "https://forge.example/x#1" }', files="")
    assert read_lock(lock(foreign), any_source=True).foreign == ("mlx",)
    with pytest.raises(SetupRefused, match="no SHA-256"):
        read_lock(lock(package(files='wheels = [{ url = "https://files.example/x.whl" }]')), any_source=True)


def test_every_host_must_be_on_the_protocols_list() -> None:
    assert read_lock(lock(package()), allowed_hosts=["FILES.example"])
    assert read_lock(lock(package()), allowed_hosts=["files.example:443", "files.example"])
    with pytest.raises(SetupRefused, match=r"files\.example"):
        read_lock(lock(package()), allowed_hosts=["index.example"])
    with pytest.raises(SetupRefused, match="allow-list"):
        read_lock(lock(package()), allowed_hosts=[])


def test_a_package_without_wheels_is_known_to_be_built() -> None:
    source_only = package(
        "old", files=f'sdist = {{ url = "https://files.example/old.tgz", hash = "{HASH}" }}'
    )
    assert read_lock(lock(source_only)).built == ("old",)


@pytest.mark.parametrize(
    "data", [b"", b"version = 2", b"version = 1", b"\xff", b"a = [", b"version = 1\npackage = 3"]
)
def test_what_is_no_lock_is_refused(data: bytes) -> None:
    with pytest.raises(SetupRefused):
        read_lock(data)


@given(st.binary(max_size=200))
def test_whatever_the_bytes_are_the_answer_is_one_kind_of_refusal(data: bytes) -> None:
    with pytest.raises(SetupRefused):
        read_lock(data)


def test_a_lock_made_for_macs_is_said_to_be_unusable_on_linux() -> None:
    found = read_lock(lock(package("mlx"), package("mlx-metal")))
    assert "without mlx-cpu" in (usable_mlx(found, "linux") or "")
    assert usable_mlx(found, "darwin") is None
    for backend in ("mlx-cpu", "mlx-cuda-13"):
        assert usable_mlx(read_lock(lock(package("mlx"), package(backend))), "linux") is None
    assert usable_mlx(read_lock(lock(package("numpy"))), "linux") is None


@pytest.mark.parametrize(
    ("requirement", "answer"),
    [
        (">=3.10, <3.14", True),
        (">=3.11.7", True),
        (">3.11.7", False),
        ("<3.11", False),
        ("==3.11.*", True),
        ("!=3.11.*", False),
        ("~=3.10", True),
        ("~=3.11.8", False),
        ("==3.11.7", True),
        ("", True),
        ("latest", False),
        (">=3.10, evil", False),
    ],
)
def test_python_ranges(requirement: str, answer: bool) -> None:
    assert satisfies((3, 11, 7), requirement) is answer
