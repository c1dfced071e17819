"""The compiled Keccak kernel: several chunks side by side in the CPU's vectors.

- It is compiled in memory when it is first wanted, in about 40 ms. Nothing is kept on disk, so nobody can
  put other native code in its place.
- It is compared with the plain implementation before it is used. If it differs, cannot be made, or the CPU
  has no use for it, there is no kernel, and the callers hash the plain way: slower, never wrong.
- It is not made where a system forbids code made at run time, nor if ``ARMLX_PURE_HASHING=1`` is set.
- Calls release the interpreter's lock, so threads hash in parallel. The kernel has no state.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import os
import platform
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from armlx_chain.storage.zerog.keccak import keccak256
from armlx_chain.storage.zerog.lanes import MOST_CHUNKS, kernel_text

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "LaneKernel",
    "Target",
    "build",
    "code_is_allowed",
    "loaded_kernel",
    "make_kernel",
    "shared_kernel",
    "suitable_width",
    "trusted",
]

log = logging.getLogger(__name__)

_CHUNK: Final = 256
_HASH: Final = 32
_SWITCH = "ARMLX_PURE_HASHING"


class _View(ctypes.Structure):
    """``Py_buffer``, part of the interpreter's stable interface: the address of any bytes-like object."""

    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    ]


@contextmanager
def _address(data: Buffer, length: int) -> Iterator[int]:
    """Where the bytes of ``data`` lie; they stay there while the context is open.

    Raises:
        ValueError: if there are not exactly ``length`` of them: native code checks nothing.
        BufferError: if they do not lie in a row.
    """
    view = _View()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(data), ctypes.byref(view), 0)
    try:
        if view.len != length:
            raise ValueError(f"{view.len} bytes where {length} belong")
        yield view.buf or 0
    finally:
        ctypes.pythonapi.PyBuffer_Release(ctypes.byref(view))


class LaneKernel:
    """Compiled code for one width. Made by :func:`build`.

    Attributes:
        width: Hashes side by side.
        smallest_height: The least height of a tree that :meth:`perfect_roots` takes.
    """

    def __init__(self, width: int, roots: int, parents: int, owner: object) -> None:
        self.width = width
        self.smallest_height = width.bit_length() - 1
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        self._roots = ctypes.CFUNCTYPE(None, pointer, pointer, number, number)(roots)
        self._parents = ctypes.CFUNCTYPE(None, pointer, pointer, number)(parents)
        self._owner = owner  # the code's memory is freed with it

    def perfect_roots(self, data: Buffer, count: int, height: int) -> list[bytes]:
        """Roots of ``count`` trees of ``2**height`` whole chunks each, one after the other in ``data``.

        Raises:
            ValueError: for a height that the kernel does not take, or data of another length.
        """
        chunks = 1 << height
        if count < 1 or not self.width <= chunks <= MOST_CHUNKS:
            raise ValueError(f"no {count} trees of height {height} in a kernel of {self.width} lanes")
        found = ctypes.create_string_buffer(count * _HASH)
        with _address(data, count * chunks * _CHUNK) as start:
            self._roots(start, found, count, chunks // self.width)
        return _hashes(found.raw)

    def parents(self, level: Sequence[bytes]) -> list[bytes]:
        """keccak256 of each two neighbours of ``level``; their number is a multiple of twice the width.

        Raises:
            ValueError: for another number of hashes, or hashes of another length.
        """
        pairs = len(level) // 2
        if not pairs or len(level) % (2 * self.width):
            raise ValueError(f"{len(level)} hashes in a kernel of {self.width} lanes")
        joined = b"".join(level)
        found = ctypes.create_string_buffer(pairs * _HASH)
        with _address(joined, len(level) * _HASH) as start:
            self._parents(start, found, pairs // self.width)
        return _hashes(found.raw)


def _hashes(raw: bytes) -> list[bytes]:
    return [raw[at : at + _HASH] for at in range(0, len(raw), _HASH)]


@dataclass(frozen=True, slots=True)
class Target:
    """What code is made for.

    Attributes:
        cpu: Its name in LLVM.
        features: LLVM's features of it that may (``True``) or may not be used.
    """

    cpu: str
    features: Mapping[str, bool]

    @classmethod
    def host(cls) -> Target:
        """This machine."""
        from llvmlite import binding

        try:
            features = dict(binding.get_host_cpu_features())
        except RuntimeError:  # it can name the CPU only, as on some ARM systems: the name implies features
            features = {}
        return cls(binding.get_host_cpu_name(), features)

    def feature_list(self) -> str:
        return ",".join(("+" if has else "-") + name for name, has in sorted(self.features.items()))


def suitable_width(target: Target, machine: str, byte_order: str) -> int | None:
    """Lanes for a CPU, or ``None`` where the kernel has no use or was never tried."""
    if byte_order != "little" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    kind = machine.lower()
    if kind in ("x86_64", "amd64"):
        if target.features.get("avx512f"):
            return 8
        return 4 if target.features.get("avx2") else 2
    return 2 if kind in ("aarch64", "arm64") else None


def build(width: int, target: Target, text: Callable[[int], str] = kernel_text) -> LaneKernel:
    """Compile a kernel of ``width`` lanes. Not yet compared with anything: see :func:`trusted`.

    Args:
        width: Hashes side by side.
        target: The CPU it is to run on: one that lacks a feature named there ends the process.
        text: The kernel as LLVM IR.

    Raises:
        ValueError: for a width that there is no kernel of.
        RuntimeError: if the compiler refuses.
    """
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    module = binding.parse_assembly(text(width))
    module.verify()
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=target.cpu, features=target.feature_list(), opt=2, jit=True
    )
    engine = binding.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    roots, parents = (engine.get_function_address(name) for name in ("roots", "parents"))
    if not roots or not parents:
        raise RuntimeError("the compiled kernel lacks a function")
    return LaneKernel(width, roots, parents, engine)


def code_is_allowed() -> bool:
    """Whether this process may execute memory that it wrote.

    Hardened systems refuse that, and the compiler takes no refusal: it would end the process. So it is tried
    on one page before.
    """
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError:
        return False
    with page:
        start = (ctypes.c_char * mmap.PAGESIZE).from_buffer(page)
        start[0] = b"\0"
        protect = ctypes.CDLL(None).mprotect
        protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        refused = protect(ctypes.addressof(start), mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC)
        del start
    return not refused


def _plain_level(level: Sequence[bytes]) -> list[bytes]:
    return [keccak256(level[i] + level[i + 1]) for i in range(0, len(level), 2)]


def _plain_root(data: bytes) -> bytes:
    level = [keccak256(data[at : at + _CHUNK]) for at in range(0, len(data), _CHUNK)]
    while len(level) > 1:
        level = _plain_level(level)
    return level[0]


def trusted(kernel: LaneKernel) -> bool:
    """Whether the kernel's answers equal the plain implementation's, on bytes without any pattern.

    Every lane, several blocks, several levels, a second tree, an odd address, all zeros and all ones.
    """
    height = kernel.smallest_height + 2
    size = _CHUNK << height
    noise = b"".join(keccak256(k.to_bytes(4, "little")) for k in range(3 * size // _HASH))
    shifted = memoryview(b"\0" + noise)[1:]
    want = [_plain_root(noise[at : at + size]) for at in range(0, len(noise), size)]
    if kernel.perfect_roots(shifted, 3, height) != want:
        return False
    least = _CHUNK << kernel.smallest_height
    for data in (bytes(least), b"\xff" * least, noise[:least]):
        if kernel.perfect_roots(data, 1, kernel.smallest_height) != [_plain_root(data)]:
            return False
    level = [noise[at : at + _HASH] for at in range(0, 6 * kernel.width * _HASH, _HASH)]
    return kernel.parents(level) == _plain_level(level)


def make_kernel(
    environment: Mapping[str, str], text: Callable[[int], str] = kernel_text
) -> LaneKernel | None:
    """A kernel for this machine that passed the comparison, or ``None`` with the reason in the log."""
    if environment.get(_SWITCH, "") not in ("", "0"):
        log.info("no compiled hashing: %s is set", _SWITCH)
        return None
    try:
        target = Target.host()
        width = suitable_width(target, platform.machine(), sys.byteorder)
        if width is None:
            log.info("no compiled hashing for this CPU (%s, %s)", platform.machine(), sys.byteorder)
            return None
        if not code_is_allowed():
            log.warning("no compiled hashing: this system forbids code made at run time")
            return None
        kernel = build(width, target, text)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        log.warning("no compiled hashing, the plain one is used: %s", error)
        return None
    if not trusted(kernel):
        log.warning("the compiled hashing gave wrong answers on %s; the plain one is used", target.cpu)
        return None
    log.debug("hashing %d chunks side by side on %s", width, target.cpu)
    return kernel


class _Shared:
    """The process's kernel: made once, by the first thread that wants it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made = False
        self.kernel: LaneKernel | None = None

    def get(self) -> LaneKernel | None:
        if not self._made:
            with self._lock:
                if not self._made:
                    self.kernel = make_kernel(os.environ)
                    self._made = True
        return self.kernel


_shared = _Shared()


def shared_kernel() -> LaneKernel | None:
    """The kernel of this process, made at the first call; ``None`` if there can be none."""
    return _shared.get()


def loaded_kernel() -> LaneKernel | None:
    """The kernel of this process if one was made already."""
    return _shared.kernel
