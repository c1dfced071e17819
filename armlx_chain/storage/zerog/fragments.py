"""Large files are cut into fragments before they are stored: independent files, kept as a list of roots.

- Every fragment but the last has the same length, a power of two of at least 256 bytes. That length follows
  from the fragment's proven padded size: a node that leaves out trailing zeros cannot shift what comes after.
- Fragments are fetched one after the other into one unfinished file, each proven on its own and each resumed
  on its own; the file gets its name when all are there.
- The order of the list is the caller's to know: nothing in a fragment says its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from armlx_chain.errors import ContentMismatch, UsageError
from armlx_chain.storage.interface import Fault, Progress
from armlx_chain.storage.zerog import shape
from armlx_chain.storage.zerog.hunt import Hunt
from armlx_chain.storage.zerog.partfile import PartFile, part_paths
from armlx_chain.storage.zerog.sink import Sink, Tally
from armlx_chain.types import Root

__all__ = ["Fragments", "VerifiedFragments"]


@dataclass(frozen=True, slots=True)
class VerifiedFragments:
    """A file on disk that was put together from proven fragments.

    Attributes:
        roots: Of the fragments, in order.
        path: Where it is.
        size: Its length in bytes.
        source: Who served it.
        faults: Endpoints that failed on the way.
    """

    roots: tuple[Root, ...]
    path: Path
    size: int
    source: str
    faults: tuple[Fault, ...] = ()


class _Together:
    """One progress display for all fragments: the whole length is not known before the last."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def start(self, total: int | None) -> None:
        return None

    def advance(self, count: int) -> None:
        self._progress.advance(count)

    def note(self, text: str) -> None:
        self._progress.note(text)


class Fragments:
    """One download of fragments.

    Args:
        hunt: Makes the search for one root: root, byte limit, expected size, and keywords as the client's.
        search: Fills a sink with the file of a search, proven; returns who served it.
    """

    def __init__(
        self,
        hunt: Callable[..., Hunt],
        search: Callable[[Hunt, Sink], str],
        destination: Path,
        max_bytes: int,
        expected_size: int | None,
        progress: Progress | None,
    ) -> None:
        self._hunt = hunt
        self._search = search
        self._destination = destination
        self._max_bytes = max_bytes
        self._expected = expected_size
        self._progress = None if progress is None else _Together(progress)
        self._sources: dict[str, None] = {}
        self._faults: list[Fault] = []
        if progress is not None:
            progress.start(expected_size)

    def _state(self, number: int) -> Path:
        usual = part_paths(self._destination)[1]
        return usual if number == 0 else usual.with_name(f"{usual.name}-{number}")

    def get(self, roots: Sequence[Root]) -> VerifiedFragments:
        """See the client's ``download_fragments``."""
        if not roots:
            raise UsageError("A list of fragments has at least one root.")
        end, length = 0, 0
        with ExitStack() as stack:  # the first one's state is the lock for all
            parts: list[PartFile] = []
            for number, root in enumerate(roots):
                part = stack.enter_context(
                    PartFile.opened(
                        self._destination, root, Tally(self._progress), base=end, state=self._state(number)
                    )
                )
                parts = [*parts[:1], part]
                is_last = number == len(roots) - 1
                size = self._one(root, part, end, is_last=is_last)
                if not is_last and length in (0, size):
                    length = size
                elif len(roots) > 1 and (size > length or not is_last):
                    raise _misfit(number, size, f"the first has {length}")
                end = part.end
            parts[0].finish(end)
        for number in range(1, len(roots)):
            self._state(number).unlink(missing_ok=True)
        sources = ", ".join(self._sources)
        return VerifiedFragments(tuple(roots), self._destination, end, sources, tuple(self._faults))

    def _one(self, root: Root, part: PartFile, base: int, *, is_last: bool) -> int:
        """Fetch a fragment; its length."""
        expected = self._expected - base if is_last and self._expected is not None else None
        if expected is not None and expected < 1:
            raise ContentMismatch(
                f"The fragments before the last have {base} bytes already; {self._expected} were expected."
            )
        hunt = self._hunt(root, self._max_bytes - base, expected, renewed=True, tally=Tally(self._progress))
        self._sources.update(dict.fromkeys(self._search(hunt, part).split(", ")))
        self._faults += hunt.faults
        size = part.end - base
        if is_last:
            return size
        full = shape.padded_chunks(size) * shape.CHUNK_BYTES
        if full & (full - 1) or not part.settle(full):
            raise _misfit(None, size, "it is no power of two")
        return full


def _misfit(number: int | None, size: int, why: str) -> ContentMismatch:
    which = "A fragment" if number is None else f"Fragment {number}"
    return ContentMismatch(
        f"{which} has {size} bytes: {why}.",
        meaning="Every fragment but the last has the same power of two of bytes, the last no more.",
        next_step="Check that the list is complete and in order.",
    )
