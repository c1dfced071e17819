"""The arguments of ``bwrap`` for one run: what is seen inside, in which order it is laid.

Invariants:

- nothing of the host is writable inside but mounts that ask for it; every other writable folder is a tmpfs
  with a size;
- every folder that is only a way to a mount has mode 0755 (bubblewrap's own choice, 0700 for its own user,
  would lock a child of another user out; the loader then silently takes libraries from elsewhere);
- ``/`` and ``/dev`` end read-only; ``/proc`` belongs to the new pid namespace.

Pure but for looking at what exists on the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from armlx_chain.errors import VerifierFault
from verifier.sandbox.identity import INSIDE_ID, Identity
from verifier.sandbox.interface import INSIDE_HOME, INSIDE_TMP, SandboxSpec
from verifier.sandbox.python_env import SYSTEM_FOLDERS, PythonFiles

_ETC: Final = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime")
_DEVICES: Final = ("null", "zero", "full", "random", "urandom")
_NETWORK_FILES: Final = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/ca-certificates/extracted",
)
"""What finding a name and trusting a certificate needs, on the usual distributions."""
_DEV: Final = PurePosixPath("/dev")
_DEV_SHM_BYTES: Final = 64 << 20
_OWN: Final = tuple(PurePosixPath(name) for name in ("/proc", "/dev", "/sys"))
DEFAULT_ENV: Final = {
    "PATH": "/usr/bin:/bin",
    "HOME": str(INSIDE_HOME),
    "TMPDIR": str(INSIDE_TMP),
    "LANG": "C.UTF-8",
}


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Descriptors that bwrap itself reads, and that it closes before the program starts."""

    seccomp: int
    status: int
    block: int
    passwd: int
    group: int

    def numbers(self) -> list[int]:
        return [self.seccomp, self.status, self.block, self.passwd, self.group]


@dataclass(slots=True)
class _Layer:
    """Options in order, and which folders inside already exist."""

    writable: tuple[PurePosixPath, ...]
    options: list[str] = field(default_factory=list)
    mounts: list[PurePosixPath] = field(default_factory=list)
    folders: set[PurePosixPath] = field(default_factory=set)

    def way_to(self, target: PurePosixPath) -> None:
        """Make the folders above ``target``, unless a mount already has them."""
        for parent in reversed(target.parents):
            covered = any(parent.is_relative_to(mount) for mount in self.mounts)
            if parent == PurePosixPath("/") or parent in self.folders or covered:
                continue
            self.folder(parent)

    def folder(self, path: PurePosixPath) -> None:
        mode = "0777" if any(path.is_relative_to(root) for root in self.writable) else "0755"
        self.options += ["--perms", mode, "--dir", str(path)]
        self.folders.add(path)

    def show(self, source: Path, target: PurePosixPath, *, writable: bool = False) -> None:
        self.way_to(target)
        self.options += ["--bind" if writable else "--ro-bind", str(source), str(target)]
        self.mounts.append(target)

    def link(self, path: PurePosixPath, text: str) -> None:
        self.way_to(path)
        self.options += ["--symlink", text, str(path)]

    def data(self, descriptor: int, target: PurePosixPath) -> None:
        self.way_to(target)
        self.options += ["--perms", "0444", "--ro-bind-data", str(descriptor), str(target)]

    def tmpfs(self, target: PurePosixPath, size: int, mode: str = "1777") -> None:
        self.way_to(target)
        self.options += ["--perms", mode, "--size", str(size), "--tmpfs", str(target)]
        self.folders.add(target)


def options(
    spec: SandboxSpec, identity: Identity, pythons: Sequence[PythonFiles], descriptors: Descriptors
) -> list[str]:
    """All options of ``bwrap``, without the program.

    Raises:
        VerifierFault: a mount would hide an interpreter that has to be shown at its own path.
        ValueError: for a specification that makes no sense (a relative target, a working directory that
            is nowhere, a mount over ``/proc``).
    """
    check_spec(spec)
    _check_hidden(spec, pythons)
    layer = _Layer(writable=(INSIDE_TMP, *spec.scratch))
    layer.options += _isolation(identity, descriptors, network=spec.network)
    _system(layer, descriptors)
    if spec.network:
        _network(layer)
    _devices(layer, spec)
    size = spec.limits.scratch_bytes
    inner = [path for path in spec.scratch if _inside_a_mount(path, spec)]
    for path in (INSIDE_TMP, *(path for path in spec.scratch if path not in inner and path != INSIDE_TMP)):
        layer.tmpfs(path, size)
    layer.folder(INSIDE_HOME)
    for files in pythons:
        for shown in files.shown:
            layer.show(shown, PurePosixPath(shown))
        for link, text in files.links:
            layer.link(PurePosixPath(link), text)
    for mount in spec.mounts:
        layer.show(mount.source, mount.target, writable=mount.writable)
    for path in inner:
        layer.tmpfs(path, size)
    if any(spec.cwd.is_relative_to(root) for root in layer.writable) and not _inside_a_mount(spec.cwd, spec):
        layer.way_to(spec.cwd / "_")
    layer.options += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", str(spec.cwd), "--clearenv"]
    for name, value in {**DEFAULT_ENV, **spec.env}.items():
        layer.options += ["--setenv", name, value]
    return layer.options


def _isolation(identity: Identity, descriptors: Descriptors, *, network: bool) -> list[str]:
    chosen = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if not network:
        chosen.append("--unshare-net")
    chosen += ["--hostname", "sandbox", "--die-with-parent", "--new-session"]
    if identity.dedicated:
        # Just what setpriv needs to become someone else and to give up the rest.
        chosen += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        chosen += ["--cap-add", "CAP_SETPCAP"]
    else:
        chosen += ["--unshare-user", "--uid", str(INSIDE_ID), "--gid", str(INSIDE_ID), "--cap-drop", "ALL"]
    chosen += ["--seccomp", str(descriptors.seccomp), "--json-status-fd", str(descriptors.status)]
    return [*chosen, "--block-fd", str(descriptors.block)]


def _system(layer: _Layer, descriptors: Descriptors) -> None:
    for folder in SYSTEM_FOLDERS:
        if folder.is_symlink():
            layer.link(PurePosixPath(folder), str(folder.readlink()))
        elif folder.is_dir():
            layer.show(folder, PurePosixPath(folder))
    for name in _ETC:
        source = Path("/etc", name)
        if source.exists():
            layer.show(source, PurePosixPath(source))
    layer.data(descriptors.passwd, PurePosixPath("/etc/passwd"))
    layer.data(descriptors.group, PurePosixPath("/etc/group"))
    layer.folder(PurePosixPath("/proc"))
    layer.options += ["--proc", "/proc"]


def _network(layer: _Layer) -> None:
    for name in _NETWORK_FILES:
        # Often a link into /run, which is not shown.
        source = Path(name).resolve()
        if source.exists():
            layer.show(source, PurePosixPath(name))


def _devices(layer: _Layer, spec: SandboxSpec) -> None:
    layer.tmpfs(PurePosixPath("/dev"), 1 << 16, mode="0755")
    for name in _DEVICES:
        layer.options += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        layer.options += ["--symlink", f"/proc/self/fd/{number}", f"/dev/{name}"]
    layer.options += ["--symlink", "/proc/self/fd", "/dev/fd"]
    layer.tmpfs(PurePosixPath("/dev/shm"), min(spec.limits.scratch_bytes, _DEV_SHM_BYTES))  # noqa: S108 (inside)
    for node in spec.devices:
        layer.way_to(PurePosixPath(node))
        layer.options += ["--dev-bind", str(node), str(node)]


def _inside_a_mount(path: PurePosixPath, spec: SandboxSpec) -> bool:
    return any(path.is_relative_to(mount.target) for mount in spec.mounts)


def _check_hidden(spec: SandboxSpec, pythons: Sequence[PythonFiles]) -> None:
    for shown in (PurePosixPath(path) for files in pythons for path in files.shown):
        for target in [*(mount.target for mount in spec.mounts), *spec.scratch]:
            if shown.is_relative_to(target):
                raise VerifierFault(
                    f"The Python environment at {shown} lies below {target}, where something else is shown.",
                    next_step="Move the environment, or show that folder at another path.",
                )


def check_spec(spec: SandboxSpec) -> None:
    """Refuse what no back-end could mean.

    Raises:
        ValueError: naming the part.
    """
    if not spec.argv:
        raise ValueError("argv is empty")
    targets = [mount.target for mount in spec.mounts]
    for path in (*targets, *spec.scratch, spec.cwd):
        _check_path(path)
    for target in (*targets, *spec.scratch):
        if target == PurePosixPath("/") or any(target.is_relative_to(own) for own in _OWN):
            raise ValueError(f"{target} belongs to the sandbox itself")
    _check_text([*spec.argv, *spec.env, *spec.env.values(), *map(str, targets)])
    for name in spec.env:
        if not name or "=" in name:
            raise ValueError(f"{name!r} is no name of an environment variable")
    if min(spec.pass_fds, default=3) < 3:
        raise ValueError("descriptors 0, 1 and 2 are the sandbox's own")
    if spec.network and spec.pass_fds:
        # Who holds a channel to the verifier is a candidate or an evaluator, and those have no network.
        raise ValueError("a program with an inherited descriptor gets no network")
    for node in spec.devices:
        _check_path(PurePosixPath(node))
        if not PurePosixPath(node).is_relative_to(_DEV):
            raise ValueError(f"{node} is no device node below {_DEV}")


def _check_path(path: PurePosixPath) -> None:
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{path} is not an absolute path without '..'")


def _check_text(texts: Iterable[str]) -> None:
    if any("\0" in text for text in texts):
        raise ValueError("a zero byte in an argument, a path or the environment")
