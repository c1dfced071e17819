"""The compiled kernel against the plain implementation, and what happens when it cannot be trusted."""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from Crypto.Hash import keccak as reference_keccak
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_vectors import counter_bytes, lane_engine

from armlx_chain.storage.zerog.engine import PLAIN, LaneEngine
from armlx_chain.storage.zerog.kernel import (
    LaneKernel,
    Target,
    build,
    make_kernel,
    suitable_width,
    trusted,
)
from armlx_chain.storage.zerog.lanes import WIDTHS, kernel_text
from armlx_chain.storage.zerog.merkle import FileTree

pytestmark = pytest.mark.unit

PROJECT = Path(__file__).resolve().parents[2]
NOISE = counter_bytes("kernel", (3 << 20) + 4096)
PLAIN_CPUS = {8: "x86-64-v4", 4: "x86-64-v3", 2: "x86-64"}
"""The poorest CPU of each width: the narrower ones have no rotations of vectors."""


def reference(data: bytes) -> bytes:
    return bytes(reference_keccak.new(digest_bits=256, data=data).digest())


def kernels() -> list[tuple[int, Target]]:
    host = Target.host()
    widest = suitable_width(host, platform.machine(), sys.byteorder) or 0
    found = [(width, host) for width in WIDTHS if width <= widest]
    if platform.machine() in ("x86_64", "AMD64"):
        needed = {8: "avx512bw", 4: "avx2", 2: "sse2"}
        found += [(w, Target(PLAIN_CPUS[w], {})) for w in WIDTHS if w <= widest and host.features[needed[w]]]
    return found


@pytest.fixture(scope="module", params=kernels(), ids=lambda pair: f"{pair[0]} lanes of {pair[1].cpu}")
def kernel(request: pytest.FixtureRequest) -> LaneKernel:
    return build(*request.param)


def test_every_kernel_that_this_cpu_can_run_passes_the_comparison(kernel: LaneKernel) -> None:
    assert trusted(kernel)


def test_leaves_equal_an_independent_implementation(kernel: LaneKernel) -> None:
    """The plain path could share a mistake with the kernel; this reference shares nothing with either."""
    height = kernel.smallest_height
    leaves = [NOISE[at : at + 256] for at in range(0, 256 << height, 256)]
    level = [reference(leaf) for leaf in leaves]
    for _ in range(height):
        level = [reference(level[i] + level[i + 1]) for i in range(0, len(level), 2)]
    assert kernel.perfect_roots(b"".join(leaves), 1, height) == level


@settings(max_examples=25, deadline=None)
@given(extra=st.integers(0, 7), count=st.integers(1, 5), shift=st.integers(0, 300))
def test_roots_equal_the_plain_ones_at_any_address(
    kernel: LaneKernel, extra: int, count: int, shift: int
) -> None:
    height = kernel.smallest_height + extra
    size = count * 256 << height
    data = memoryview(NOISE)[shift : shift + size]
    assert kernel.perfect_roots(data, count, height) == PLAIN.perfect_roots(data, count, height)


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview, lambda b: memoryview(bytearray(b))])
def test_every_kind_of_buffer_is_read(kernel: LaneKernel, make: Callable[[bytes], bytes]) -> None:
    data = NOISE[: 4 * 256 << kernel.smallest_height]
    want = PLAIN.perfect_roots(memoryview(data), 4, kernel.smallest_height)
    assert kernel.perfect_roots(make(data), 4, kernel.smallest_height) == want


@settings(max_examples=25, deadline=None)
@given(blocks=st.integers(1, 20), start=st.integers(0, 100))
def test_parents_equal_the_plain_ones(kernel: LaneKernel, blocks: int, start: int) -> None:
    count = 2 * kernel.width * blocks
    level = [NOISE[at : at + 32] for at in range(start, start + count * 32, 32)]
    assert kernel.parents(level) == PLAIN.parents(level)


def test_native_code_is_never_given_fewer_bytes_than_it_reads(kernel: LaneKernel) -> None:
    height = kernel.smallest_height
    size = 256 << height
    for wrong in (size - 1, size + 1, 0, size // 2):
        with pytest.raises(ValueError, match="bytes where"):
            kernel.perfect_roots(NOISE[:wrong], 1, height)
    with pytest.raises(ValueError, match="trees of height"):
        kernel.perfect_roots(NOISE[: size // 2], 1, height - 1)
    with pytest.raises(ValueError, match="trees of height 11"):
        kernel.perfect_roots(NOISE[: 256 << 11], 1, 11)
    with pytest.raises(ValueError, match="0 trees"):
        kernel.perfect_roots(b"", 0, height)
    with pytest.raises(BufferError):
        kernel.perfect_roots(memoryview(NOISE[: 2 * size])[::2], 1, height)
    level = [bytes(32)] * (2 * kernel.width)
    with pytest.raises(ValueError, match="hashes in a kernel"):
        kernel.parents(level[:-2])
    with pytest.raises(ValueError, match="hashes in a kernel"):
        kernel.parents([])
    with pytest.raises(ValueError, match="bytes where"):
        kernel.parents([*level[:-1], bytes(31)])


def test_threads_that_share_a_kernel_do_not_disturb_each_other(kernel: LaneKernel) -> None:
    pieces = [memoryview(NOISE)[at : at + (1 << 18)] for at in range(0, 3 << 20, 1 << 16)][:40]
    want = [PLAIN.perfect_roots(piece, 1, 10) for piece in pieces]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert list(pool.map(lambda piece: kernel.perfect_roots(piece, 1, 10), pieces)) == want


# --- a file's tree -----------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    size=st.one_of(
        st.integers(1, 10_000),
        st.integers(1, 3 << 20),
        st.integers(1, 12).flatmap(lambda k: st.integers((k << 18) - 300, (k << 18) + 300)),
    ),
    start=st.integers(0, 4096),
)
def test_a_tree_by_the_kernel_equals_the_plain_one(size: int, start: int) -> None:
    data = memoryview(NOISE)[start : start + min(size, 3 << 20)]
    by_kernel, plain = FileTree.of(data, lane_engine()), FileTree.of(data, PLAIN)
    assert by_kernel.root == plain.root
    assert by_kernel.segment_roots == plain.segment_roots
    assert by_kernel.submission_nodes == plain.submission_nodes
    last = len(data) // (1 << 18) if len(data) % (1 << 18) else 0
    assert by_kernel.proof(last) == plain.proof(last)


def test_a_long_level_of_any_length_equals_the_plain_one() -> None:
    hashes = [NOISE[at : at + 32] for at in range(0, 32 * 200, 32)]
    engine = lane_engine()
    for count in range(2, 200, 2):
        assert engine.parents(hashes[:count]) == PLAIN.parents(hashes[:count])


# --- which kernel ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "features", "order", "width"),
    [
        ("x86_64", {"avx512f": True, "avx2": True}, "little", 8),
        ("AMD64", {"avx512f": False, "avx2": True}, "little", 4),
        ("x86_64", {}, "little", 2),
        ("aarch64", {"neon": True}, "little", 2),
        ("arm64", {}, "little", 2),
        ("x86_64", {"avx512f": True}, "big", None),
        ("s390x", {}, "big", None),
        ("riscv64", {}, "little", None),
        ("", {}, "little", None),
    ],
)
def test_width_fits_the_cpu(machine: str, features: dict[str, bool], order: str, width: int | None) -> None:
    assert suitable_width(Target("any", features), machine, order) == width


def test_there_is_no_kernel_of_another_width() -> None:
    for width in (0, 1, 3, 16):
        with pytest.raises(ValueError, match="no kernel"):
            kernel_text(width)


@pytest.mark.parametrize("triple", ["aarch64-apple-darwin", "aarch64-unknown-linux-gnu"])
def test_the_kernel_compiles_for_arm(triple: str) -> None:
    """Compiled only: there is no such CPU here to run it on."""
    from llvmlite import binding

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    module = binding.parse_assembly(kernel_text(2))
    machine = binding.Target.from_triple(triple).create_target_machine(cpu="generic", opt=2)
    assembly = machine.emit_assembly(module)
    assert len(re.findall(r"\beor\b", assembly)) > 50


# --- what cannot be trusted decides nothing ----------------------------------------------------------

TAMPERINGS: dict[str, Callable[[str], str]] = {
    "another round constant": lambda text: text.replace("i64 32898,", "i64 32899,", 1),
    "another rotation": lambda text: text.replace("splat (i64 44)", "splat (i64 43)"),
    "a round too few": lambda text: text.replace("%next, 24", "%next, 23"),
    "no padding at the end": lambda text: text.replace(f"splat (i64 {-(1 << 63)})", "zeroinitializer"),
    "the padding of SHA3": lambda text: re.sub(
        r"splat \(i64 1\)(?=, ptr|$)", "splat (i64 6)", text, flags=re.M
    ),
    "or instead of and": lambda text: re.sub(r"= and <", "= or <", text),
    "children exchanged": lambda text: text.replace(
        "%second = getelementptr i8, ptr %first, i64", "%second = getelementptr i8, ptr %first, i64 0 ;"
    ),
    "the first tree only": lambda text: text.replace(
        "%start = mul i64 %number, %size", "%start = mul i64 0, %size"
    ),
    "a level too few": lambda text: text.replace(
        "%single = icmp eq i64 %left, 1", "%single = icmp ule i64 %left, 2"
    ),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_kernel_that_computes_something_else_is_not_used(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    lane_engine()

    def tampered(width: int) -> str:
        right = kernel_text(width)
        wrong = TAMPERINGS[name](right)
        assert wrong != right
        return wrong

    with caplog.at_level(logging.WARNING):
        assert make_kernel({}, tampered) is None
    assert "wrong answers" in caplog.text


def test_a_kernel_that_does_not_compile_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    lane_engine()
    with caplog.at_level(logging.WARNING):
        assert make_kernel({}, lambda width: "this is no program") is None
    assert "the plain one is used" in caplog.text


def test_the_switch_keeps_the_kernel_from_being_made() -> None:
    assert make_kernel({"ARMLX_PURE_HASHING": "1"}) is None
    assert (
        make_kernel({"ARMLX_PURE_HASHING": "0"}) is not None
        or suitable_width(Target.host(), platform.machine(), sys.byteorder) is None
    )


CHILD = """
import json, logging, sys
logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
{before}
from armlx_chain.storage.zerog.merkle import root_of
root = root_of(bytes(range(256)) * {chunks})
print(json.dumps({"root": root.hex, "compiler": bool(sys.modules.get("llvmlite"))}))
"""


def run_child(chunks: int, folder: Path, *, before: str = "", **env: str) -> tuple[dict[str, object], str]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD.replace("{before}", before).replace("{chunks}", str(chunks))],
        env={**os.environ, "HOME": str(folder), "TMPDIR": str(folder), "XDG_CACHE_HOME": str(folder), **env},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found, done.stderr


LARGE = (8 << 20) // 256


@pytest.fixture(scope="module")
def large_root() -> str:
    return FileTree.of(bytes(range(256)) * LARGE, PLAIN).root.hex


def test_without_the_compiler_the_root_is_the_same(tmp_path: Path, large_root: str) -> None:
    found, talk = run_child(LARGE, tmp_path, before="sys.modules['llvmlite'] = None")
    assert found == {"root": large_root, "compiler": False}
    assert "no compiled hashing" in talk


def test_with_the_switch_the_root_is_the_same(tmp_path: Path, large_root: str) -> None:
    found, talk = run_child(LARGE, tmp_path, ARMLX_PURE_HASHING="1")
    assert found == {"root": large_root, "compiler": False}
    assert talk == ""


FORBID = """
import ctypes
PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0):
    print('{"unsupported": true}')
    raise SystemExit
"""


def test_a_system_that_forbids_code_made_at_run_time_gets_the_same_root(
    tmp_path: Path, large_root: str
) -> None:
    """The compiler would end the process there, as services with MemoryDenyWriteExecute would notice."""
    lane_engine()
    if not sys.platform.startswith("linux"):
        pytest.skip("other systems forbid it by other means")
    found, talk = run_child(LARGE, tmp_path, before=FORBID)
    if "unsupported" in found:
        pytest.skip("this kernel cannot forbid it")
    assert found["root"] == large_root
    assert "forbids code made at run time" in talk


def test_making_the_kernel_leaves_no_file_behind_that_could_be_replaced(
    tmp_path: Path, large_root: str
) -> None:
    lane_engine()
    found, _ = run_child(LARGE, tmp_path)
    assert found == {"root": large_root, "compiler": True}
    assert list(tmp_path.iterdir()) == []


def test_hashing_a_little_does_not_import_the_compiler(tmp_path: Path) -> None:
    found, _ = run_child(20, tmp_path)
    assert found["compiler"] is False


def test_many_small_files_together_are_worth_a_kernel(tmp_path: Path) -> None:
    lane_engine()
    many = (
        "from armlx_chain.storage.zerog.merkle import root_of\n"
        "for k in range({count}): root_of(bytes([k]) * 100_000)"
    )
    found, _ = run_child(20, tmp_path, before=many.format(count=41))
    assert found["compiler"] is False
    found, _ = run_child(20, tmp_path, before=many.format(count=43))
    assert found["compiler"] is True


def test_an_engine_of_the_kernel_hashes_what_is_too_small_for_it_the_plain_way(kernel: LaneKernel) -> None:
    engine = LaneEngine(kernel)
    for height in range(kernel.smallest_height + 1):
        data = memoryview(NOISE)[: 256 << height]
        assert engine.perfect_roots(data, 1, height) == PLAIN.perfect_roots(data, 1, height)
