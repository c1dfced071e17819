"""Running a command in this process, as a person would, with its own home."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from typing import Any

from armlx_chain.cli.main import cli, run


class _Stream(io.TextIOWrapper):
    """A text stream over bytes, as stdout is one."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    @property
    def data(self) -> bytes:
        self.flush()
        buffer: Any = self.buffer
        return bytes(buffer.getvalue())


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        return self.raw.decode()

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        found: dict[str, Any] = json.loads(self.out)
        return found


def command(*arguments: object) -> Ran:
    """Run ``armlx-chain`` with these arguments."""
    out, err = _Stream(), _Stream()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(cli, [str(argument) for argument in arguments], name="armlx-chain")
    return Ran(code, out.data, err.data.decode())
