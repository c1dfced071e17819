"""Base64 of segments, decoded by vectors where there is a compiler, by the standard library otherwise.

- Strict either way: the standard alphabet, padding where it belongs, nothing else. What the vectors do not
  like is given to the standard library, whose word is final.
- The compiled code is made when the hashing kernel was (so small downloads never pay for it), is compared
  with the standard library first, and has no state. Calls release the interpreter's lock.

Four characters are 24 bits. A step takes 64 characters: each becomes its six bits by its distance from the
range it lies in, four sextets are joined in a 32-bit lane, and the three bytes of every lane move together.
"""

from __future__ import annotations

import binascii
import ctypes
import logging
import threading

from armlx_chain.storage.zerog.kernel import Target, loaded_kernel

__all__ = ["decode", "decode_slice"]

log = logging.getLogger(__name__)

_STEP = 64
_STEP_BYTES = 48
_LEAST = 4096
"""Characters below which the vectors are not worth the call."""

_RANGES = ((ord("A"), 26, 0), (ord("a"), 26, 26), (ord("0"), 10, 52), (ord("+"), 1, 62), (ord("/"), 1, 63))
"""First character, how many, and the value of the first (RFC 4648, table 1)."""


class _Writer:
    """Collects the lines of a function and names its values."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def value(self, operation: str) -> str:
        name = f"%v{len(self.lines)}"
        self.lines.append(f"  {name} = {operation}")
        return name


def _kernel_text() -> str:
    """LLVM IR of ``decode(in, out, steps)``: 64 characters to 48 bytes each step; 0 if all were valid."""
    writer = _Writer()
    value = writer.value
    text = value("load <64 x i8>, ptr %from, align 1")
    sextets, valid = "<64 x i8> zeroinitializer", "<64 x i1> zeroinitializer"
    for first, count, base in _RANGES:
        distance = value(f"sub <64 x i8> {text}, splat (i8 {first})")
        inside = value(f"icmp ult <64 x i8> {distance}, splat (i8 {count})")
        moved = value(f"add <64 x i8> {distance}, splat (i8 {base})")
        sextets = "<64 x i8> " + value(f"select <64 x i1> {inside}, <64 x i8> {moved}, {sextets}")
        valid = "<64 x i1> " + value(f"or {valid}, {inside}")
    lanes = value(f"bitcast {sextets} to <16 x i32>")
    joined = ""
    # Sextets a, b, c, d lie in bytes 0 to 3; the bytes wanted are a<<2|b>>4, b<<4|c>>2, c<<6|d.
    for mask, shift in (
        (0x3F, 2),
        (0x3000, -12),
        (0x0F00, 4),
        (0x3C0000, -10),
        (0x030000, 6),
        (0x3F000000, -8),
    ):
        part = value(f"and <16 x i32> {lanes}, splat (i32 {mask})")
        kind = "shl" if shift > 0 else "lshr"
        part = value(f"{kind} <16 x i32> {part}, splat (i32 {abs(shift)})")
        joined = part if not joined else value(f"or <16 x i32> {joined}, {part}")
    apart = value(f"bitcast <16 x i32> {joined} to <64 x i8>")
    order = ", ".join(f"i32 {4 * lane + byte}" for lane in range(16) for byte in range(3))
    together = value(f"shufflevector <64 x i8> {apart}, <64 x i8> poison, <48 x i32> <{order}>")
    flags = value(f"bitcast {valid} to i64")
    wrong = value(f"xor i64 {flags}, -1")
    return "\n".join(
        (
            "define i64 @decode(ptr %in, ptr %out, i64 %steps) {",
            "entry:",
            "  br label %step",
            "step:",
            "  %at = phi i64 [0, %entry], [%next, %step]",
            "  %bad = phi i64 [0, %entry], [%worse, %step]",
            f"  %skip = mul i64 %at, {_STEP}",
            "  %from = getelementptr i8, ptr %in, i64 %skip",
            *writer.lines,
            f"  %place = mul i64 %at, {_STEP_BYTES}",
            "  %to = getelementptr i8, ptr %out, i64 %place",
            f"  store <48 x i8> {together}, ptr %to, align 1",
            f"  %worse = or i64 %bad, {wrong}",
            "  %next = add i64 %at, 1",
            "  %more = icmp ult i64 %next, %steps",
            "  br i1 %more, label %step, label %end",
            "end:",
            "  ret i64 %worse",
            "}",
        )
    )


class _Decoder:
    """The compiled function, and the engine whose memory it lies in."""

    def __init__(self) -> None:
        from llvmlite import binding

        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        target = Target.host()
        machine = binding.Target.from_default_triple().create_target_machine(
            cpu=target.cpu, features=target.feature_list(), opt=2, jit=True
        )
        self._engine = binding.create_mcjit_compiler(binding.parse_assembly(_kernel_text()), machine)
        self._engine.finalize_object()
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        kind = ctypes.CFUNCTYPE(number, pointer, pointer, number)
        self._decode = kind(self._engine.get_function_address("decode"))

    def decode(self, text: bytes, start: int, end: int) -> bytearray | None:
        """The bytes of ``text[start:end]``, or ``None`` if it is not base64 that is to be had this way."""
        length = end - start
        if length % 4 or length < 4 or start < 0 or end > len(text):
            return None
        steps = (length - 4) // _STEP
        whole = start + steps * _STEP
        try:
            tail = binascii.a2b_base64(text[whole:end], strict_mode=True)
        except binascii.Error:
            return None
        found = bytearray(steps * _STEP_BYTES + len(tail))
        found[steps * _STEP_BYTES :] = tail
        address = ctypes.cast(ctypes.c_char_p(text), ctypes.c_void_p).value or 0
        target = (ctypes.c_char * len(found)).from_buffer(found)
        if steps and self._decode(address + start, ctypes.addressof(target), steps):
            return None
        return found

    def is_right(self) -> bool:
        """Whether it decodes every character in every place, and refuses every other byte in every place."""
        for shift in range(_STEP):
            plain = bytes((17 * k + 5 * shift + k // 7) % 256 for k in range(_STEP_BYTES * 3 + shift))
            text = binascii.b2a_base64(plain, newline=False)
            if self.decode(b"??" + text + b"??", 2, 2 + len(text)) != bytearray(plain):
                return False
        alphabet = {byte for first, count, _ in _RANGES for byte in range(first, first + count)}
        for byte in range(256):
            text = b"A" * (byte % _STEP) + bytes([byte]) + b"A" * (2 * _STEP + 3 - byte % _STEP)
            if (self.decode(text, 0, len(text)) is not None) != (byte in alphabet):
                return False
        return True


class _Shared:
    """The process's decoder: made once, by the first thread that wants it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made = False
        self._decoder: _Decoder | None = None

    def get(self) -> _Decoder | None:
        if not self._made:
            with self._lock:
                if not self._made:
                    self._decoder = self._make()
                    self._made = True
        return self._decoder

    @staticmethod
    def _make() -> _Decoder | None:
        try:
            decoder = _Decoder()
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            log.warning("no compiled base64, the standard library's is used: %s", error)
            return None
        if not decoder.is_right():
            log.warning("the compiled base64 gave wrong answers; the standard library's is used")
            return None
        return decoder


_shared = _Shared()


def decode(text: bytes) -> bytes | bytearray:
    """The bytes of standard base64 with padding.

    Raises:
        ValueError: if it is anything else.
    """
    return decode_slice(text, 0, len(text))


def decode_slice(text: bytes, start: int, end: int) -> bytes | bytearray:
    """The same for ``text[start:end]``, which is not copied."""
    if end - start >= _LEAST and loaded_kernel() is not None:
        decoder = _shared.get()
        found = decoder.decode(text, start, end) if decoder is not None else None
        if found is not None:
            return found
    try:
        return binascii.a2b_base64(text[start:end], strict_mode=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
