"""The text of the compiled Keccak kernel: LLVM IR for ``width`` hashes side by side. Pure.

Keccak-f[1600] has no carries and no table look-ups, so ``width`` independent states fit the lanes of
vectors of ``width`` 64-bit words, and every step of FIPS 202, section 3.2 becomes one vector instruction or
two. The back-end turns ``fshl`` into a rotation and ``a ^ (~b & c)`` into one ternary operation where the
CPU has them.

Two functions come out, both without memory of their own, locks or calls to anything outside:

- ``roots(in, out, count, blocks)``: the roots of ``count`` consecutive perfect trees over ``blocks`` ×
  ``width`` chunks of 256 bytes each. ``blocks`` is a power of two, a tree has at most :data:`MOST_CHUNKS`.
- ``parents(in, out, blocks)``: keccak256 of ``blocks`` × ``width`` pairs of 64 bytes.

Hashes of ``width`` neighbours are kept word by word (four vectors), so the halves of a pair lie in even and
odd lanes, and no level of the tree needs a transposition. Input and output may lie at any address.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["MOST_CHUNKS", "WIDTHS", "kernel_text"]

WIDTHS = (8, 4, 2)
"""Lanes of AVX-512, AVX2, and of SSE2 or NEON."""

MOST_CHUNKS = 1024
"""The largest tree that ``roots`` takes: one segment. Its leaves lie on the stack (32 KiB)."""

_CHUNK = 256
_HASH = 32
_WORD = 8
_RATE_WORDS = 17
"""Words taken in per permutation: the rate is 136 bytes (FIPS 202, section 5.2, capacity 512 bits)."""
_ROUNDS = 24
_TOP_BIT = -(1 << 63)
"""The last bit of the padding 10*1, as a signed 64-bit number; the first one is 1."""


def _round_constants() -> Iterator[int]:
    """The constants of iota, as signed 64-bit numbers (FIPS 202, algorithm 5)."""
    register = 1
    for _ in range(_ROUNDS):
        constant = 0
        for power in range(7):
            constant |= (register & 1) << ((1 << power) - 1)
            register = (register << 1) ^ (0x171 if register & 0x80 else 0)
        yield constant - (1 << 64) if constant >> 63 else constant


def _rotations() -> dict[tuple[int, int], int]:
    """The offsets of rho by (x, y) (FIPS 202, algorithm 2)."""
    offsets = {(0, 0): 0}
    x, y = 1, 0
    for step in range(24):
        offsets[x, y] = (step + 1) * (step + 2) // 2 % 64
        x, y = y, (2 * x + 3 * y) % 5
    return offsets


class _Writer:
    """Collects the lines of one function and names its values."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.vector = f"<{width} x i64>"
        self.lines: list[str] = []
        self._count = 0

    def value(self, operation: str) -> str:
        self._count += 1
        self.lines.append(f"  %v{self._count} = {operation}")
        return f"%v{self._count}"

    def line(self, text: str) -> None:
        self.lines.append(text)

    def address(self, base: str, offset: int) -> str:
        return self.value(f"getelementptr i8, ptr {base}, i64 {offset}")

    def load(self, base: str, offset: int, *, align: int) -> str:
        return self.value(f"load {self.vector}, ptr {self.address(base, offset)}, align {align}")

    def store(self, vector: str, base: str, offset: int, *, align: int) -> None:
        self.line(f"  store {self.vector} {vector}, ptr {self.address(base, offset)}, align {align}")

    def xor(self, first: str, *others: str) -> str:
        for other in others:
            first = self.value(f"xor {self.vector} {first}, {other}")
        return first

    def rotate(self, vector: str, bits: int) -> str:
        if bits == 0:
            return vector
        by = f"{self.vector} splat (i64 {bits})"
        pair = f"{self.vector} {vector}, {self.vector} {vector}, {by}"
        return self.value(f"call {self.vector} @llvm.fshl.v{self.width}i64({pair})")

    def shuffle(self, first: str, second: str, lanes: Sequence[int]) -> str:
        mask = ", ".join(f"i32 {lane}" for lane in lanes)
        pair = f"{self.vector} {first}, {self.vector} {second}"
        return self.value(f"shufflevector {pair}, <{self.width} x i32> <{mask}>")

    def transpose(self, rows: Sequence[str]) -> list[str]:
        """Rows of words to columns: as many vectors as lanes, by log2(width) rounds of exchanges."""
        vectors, width, step = list(rows), self.width, 1
        while step < width:
            mixed = list(vectors)
            for low in (at for at in range(width) if not at & step):
                first, second = vectors[low], vectors[low | step]
                lanes = [lane if not lane & step else width + (lane ^ step) for lane in range(width)]
                mixed[low] = self.shuffle(first, second, lanes)
                lanes = [lane | step if not lane & step else width + lane for lane in range(width)]
                mixed[low | step] = self.shuffle(first, second, lanes)
            vectors, step = mixed, step * 2
        return vectors

    def columns(self, base: str, stride: int, words: int) -> list[str]:
        """The first ``words`` words of ``width`` records ``stride`` bytes apart, a vector for each word."""
        found: list[str] = []
        for first in range(0, words, self.width):
            rows = [self.load(base, lane * stride + first * _WORD, align=1) for lane in range(self.width)]
            found += self.transpose(rows)
        return found[:words]


def _round(to: _Writer, state: Sequence[str], constant: str) -> list[str]:
    """One round: theta, rho, pi, chi, iota. ``state[x + 5 * y]`` is lane (x, y)."""
    parity = [to.xor(*state[x::5]) for x in range(5)]
    spread = [to.xor(parity[(x + 4) % 5], to.rotate(parity[(x + 1) % 5], 1)) for x in range(5)]
    offsets = _rotations()
    moved: dict[tuple[int, int], str] = {}
    after: list[str] = []
    for row in range(5):
        for x, y in offsets:
            if (2 * x + 3 * y) % 5 == row:
                moved[y, row] = to.rotate(to.xor(state[x + 5 * y], spread[x]), offsets[x, y])
        for x in range(5):
            inverse = to.xor(moved[(x + 1) % 5, row], "splat (i64 -1)")
            masked = to.value(f"and {to.vector} {inverse}, {moved[(x + 2) % 5, row]}")
            after.append(to.xor(moved[x, row], masked))
    after[0] = to.xor(after[0], constant)
    return after


def _permute(width: int) -> list[str]:
    """``permute(state)``: Keccak-f[1600] on 25 vectors in memory; the state is in registers meanwhile."""
    to = _Writer(width)
    align = width * _WORD
    to.line("define internal void @permute(ptr %state) #1 {\nentry:")
    before = [to.load("%state", i * align, align=align) for i in range(25)]
    to.line("  br label %round\nround:")
    head = len(to.lines)
    number = to.value(f"load i64, ptr {to.value('getelementptr i64, ptr @constants, i64 %r')}")
    single = to.value(f"insertelement {to.vector} poison, i64 {number}, i32 0")
    after = _round(to, [f"%s{i}" for i in range(25)], to.shuffle(single, "poison", [0] * width))
    to.line(f"  %next = add i64 %r, 1\n  %last = icmp eq i64 %next, {_ROUNDS}")
    to.line("  br i1 %last, label %done, label %round\ndone:")
    for i in range(25):
        to.store(after[i], "%state", i * align, align=align)
    to.line("  ret void\n}")
    merged = [f"  %s{i} = phi {to.vector} [ {before[i]}, %entry ], [ {after[i]}, %round ]" for i in range(25)]
    to.lines[head:head] = [*merged, "  %r = phi i64 [ 0, %entry ], [ %next, %round ]"]
    return to.lines


def _leaves(width: int) -> list[str]:
    """``leaves(in, out, state)``: hash ``width`` chunks: 136 bytes, then 120 and the padding."""
    to = _Writer(width)
    align = width * _WORD
    to.line("define internal void @leaves(ptr %in, ptr %out, ptr %state) #1 {")
    words = to.columns("%in", _CHUNK, _CHUNK // _WORD)
    for i in range(25):
        to.store(words[i] if i < _RATE_WORDS else "zeroinitializer", "%state", i * align, align=align)
    to.line("  call void @permute(ptr %state)")
    rest = [*words[_RATE_WORDS:], "splat (i64 1)", f"splat (i64 {_TOP_BIT})"]
    for i, word in enumerate(rest):
        mixed = to.xor(to.load("%state", i * align, align=align), word)
        to.store(mixed, "%state", i * align, align=align)
    _finish(to)
    return to.lines


def _nodes(width: int) -> list[str]:
    """``nodes(first, second, out, state)``: hash the neighbours in two blocks of ``width`` hashes."""
    to = _Writer(width)
    align = width * _WORD
    to.line("define internal void @nodes(ptr %first, ptr %second, ptr %out, ptr %state) #1 {")
    for half in range(2):  # left children are in even lanes, right ones in odd lanes
        for word in range(4):
            first, second = (to.load(base, word * align, align=align) for base in ("%first", "%second"))
            picked = to.shuffle(first, second, range(half, 2 * width, 2))
            to.store(picked, "%state", (4 * half + word) * align, align=align)
    _pad_pair(to)
    _finish(to)
    return to.lines


def _pad_pair(to: _Writer) -> None:
    """The rest of a state that has taken in 64 bytes: padding and zeros."""
    align = to.width * _WORD
    for i in range(8, 25):
        padding = {8: "splat (i64 1)", _RATE_WORDS - 1: f"splat (i64 {_TOP_BIT})"}
        to.store(padding.get(i, "zeroinitializer"), "%state", i * align, align=align)


def _finish(to: _Writer) -> None:
    """Permute, and copy the four words of the hashes to ``%out``, vector by vector."""
    align = to.width * _WORD
    to.line("  call void @permute(ptr %state)")
    for word in range(4):
        to.store(to.load("%state", word * align, align=align), "%out", word * align, align=align)
    to.line("  ret void\n}")


def _roots(width: int) -> str:
    """``roots``: leaves of a tree, level after level in place, then the levels within one block."""
    block, chunks = width * _HASH, width * _CHUNK
    vector = f"<{width} x i64>"
    copied = "\n".join(
        f"  %from{w} = getelementptr i8, ptr %tree, i64 {w * width * _WORD}\n"
        f"  %word{w} = load i64, ptr %from{w}\n"
        f"  %to{w} = getelementptr i8, ptr %target, i64 {w * _WORD}\n"
        f"  store i64 %word{w}, ptr %to{w}, align 1"
        for w in range(4)
    )
    return f"""
define void @roots(ptr %in, ptr %out, i64 %count, i64 %blocks) #0 {{
entry:
  %state = alloca [25 x {vector}], align 64
  %tree = alloca [{MOST_CHUNKS * _HASH} x i8], align 64
  %size = mul i64 %blocks, {chunks}
  br label %next
next:
  %number = phi i64 [ 0, %entry ], [ %number1, %copy ]
  %start = mul i64 %number, %size
  %data = getelementptr i8, ptr %in, i64 %start
  br label %leaf
leaf:
  %l = phi i64 [ 0, %next ], [ %l1, %leaf ]
  %taken = mul i64 %l, {chunks}
  %chunk = getelementptr i8, ptr %data, i64 %taken
  %made = mul i64 %l, {block}
  %hashes = getelementptr i8, ptr %tree, i64 %made
  call void @leaves(ptr %chunk, ptr %hashes, ptr %state)
  %l1 = add i64 %l, 1
  %leavesdone = icmp eq i64 %l1, %blocks
  br i1 %leavesdone, label %level, label %leaf
level:
  %left = phi i64 [ %blocks, %leaf ], [ %half, %node ]
  %single = icmp eq i64 %left, 1
  br i1 %single, label %inner, label %begin
begin:
  %half = lshr i64 %left, 1
  br label %node
node:
  %n = phi i64 [ 0, %begin ], [ %n1, %node ]
  %at = mul i64 %n, {2 * block}
  %first = getelementptr i8, ptr %tree, i64 %at
  %second = getelementptr i8, ptr %first, i64 {block}
  %place = mul i64 %n, {block}
  %parent = getelementptr i8, ptr %tree, i64 %place
  call void @nodes(ptr %first, ptr %second, ptr %parent, ptr %state)
  %n1 = add i64 %n, 1
  %leveldone = icmp eq i64 %n1, %half
  br i1 %leveldone, label %level, label %node
inner:
  %lanes = phi i64 [ {width}, %level ], [ %fewer, %inner ]
  call void @nodes(ptr %tree, ptr %tree, ptr %tree, ptr %state)
  %fewer = lshr i64 %lanes, 1
  %treedone = icmp eq i64 %fewer, 1
  br i1 %treedone, label %copy, label %inner
copy:
  %offset = mul i64 %number, {_HASH}
  %target = getelementptr i8, ptr %out, i64 %offset
{copied}
  %number1 = add i64 %number, 1
  %alldone = icmp eq i64 %number1, %count
  br i1 %alldone, label %exit, label %next
exit:
  ret void
}}"""


def _parents(width: int) -> list[str]:
    """``parents``: pairs from and hashes to plain bytes."""
    to = _Writer(width)
    align = width * _WORD
    to.line("define void @parents(ptr %in, ptr %out, i64 %blocks) #0 {")
    to.line(f"entry:\n  %state = alloca [25 x {to.vector}], align 64\n  br label %block\nblock:")
    to.line("  %b = phi i64 [ 0, %entry ], [ %b1, %block ]")
    to.line(f"  %taken = mul i64 %b, {width * 2 * _HASH}\n  %pairs = getelementptr i8, ptr %in, i64 %taken")
    to.line(f"  %made = mul i64 %b, {width * _HASH}\n  %hashes = getelementptr i8, ptr %out, i64 %made")
    for i, column in enumerate(to.columns("%pairs", 2 * _HASH, 8)):
        to.store(column, "%state", i * align, align=align)
    _pad_pair(to)
    to.line("  call void @permute(ptr %state)")
    for word in range(4):
        hashes = to.load("%state", word * align, align=align)
        for lane in range(width):
            single = to.value(f"extractelement {to.vector} {hashes}, i32 {lane}")
            target = to.address("%hashes", lane * _HASH + word * _WORD)
            to.line(f"  store i64 {single}, ptr {target}, align 1")
    to.line("  %b1 = add i64 %b, 1\n  %done = icmp eq i64 %b1, %blocks")
    to.line("  br i1 %done, label %exit, label %block\nexit:\n  ret void\n}")
    return to.lines


def kernel_text(width: int) -> str:
    """The kernel for vectors of ``width`` words, as LLVM IR.

    Raises:
        ValueError: if ``width`` is none of :data:`WIDTHS`.
    """
    if width not in WIDTHS:
        raise ValueError(f"no kernel of {width} lanes")
    vector = f"<{width} x i64>"
    constants = ", ".join(f"i64 {constant}" for constant in _round_constants())
    # Some back-ends avoid the widest registers unless a function asks for them.
    bits = width * 64
    attributes = f'nounwind "min-legal-vector-width"="{bits}" "prefer-vector-width"="{bits}"'
    return "\n".join(
        [
            f"@constants = private unnamed_addr constant [{_ROUNDS} x i64] [{constants}]",
            f"declare {vector} @llvm.fshl.v{width}i64({vector}, {vector}, {vector})",
            *_permute(width),
            *_leaves(width),
            *_nodes(width),
            _roots(width),
            *_parents(width),
            f"attributes #0 = {{ {attributes} }}",
            f"attributes #1 = {{ noinline {attributes} }}",
            "",
        ]
    )
