"""Run the whole corpus of cheats and honest variants, bare and under the verifier, and print a table.

    scripts/attacks                     all of it; about ten minutes on two quiet cores
    scripts/attacks lookahead log_nan   only what begins with one of these words
    scripts/attacks --markdown          the table as Markdown

The naive verdict beside ours is what a trusting re-run says: the metric that the program prints in a bare
run, better than the unmodified program's by more than the smallest gain that the rule pays for.
Exits with 1 if a verdict is not one of those that are right for its cheat.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.attacks.court import Court, convene, printed_in, trusted_score
from tests.attacks.load import Variant, cheats, honest
from tests.attacks.trial import allowed, prepared_trial
from verifier.model import Outcome, Reason
from verifier.verdict.constants import MINIMUM_GAIN


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    kind: str
    printed: str
    naive: str
    trusted: str
    verdict: str
    reason: str
    right: bool

    def cells(self) -> tuple[str, ...]:
        mark = "" if self.right else "NOT ALLOWED"
        return (self.name, self.kind, self.printed, self.naive, self.trusted, self.verdict, self.reason, mark)


HEAD = ("name", "class", "printed", "naive re-run", "trusted", "verdict", "reason", "")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/attacks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", help="beginnings of names")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    variants = [*cheats().values(), *honest().values()]
    if options.words:
        variants = [one for one in variants if one.name.startswith(tuple(options.words))]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="attacks-") as folder:
        say("Preparing the benchmark and measuring its noise …")
        # The snapshot's own runs are small; a bound near them makes the memory bomb cheap to try.
        court = convene(Path(folder) / "court", memory_bytes=1 << 30)
        noise = court.noise
        say(
            f"Honest: {court.honest_score:.6f} printed bare, {noise.control_mean} trusted; "
            f"s = {noise.s}; deadline {court.deadline_seconds:.2f} s of CPU time."
        )
        rows = []
        for number, variant in enumerate(variants, start=1):
            place = Path(folder) / variant.name
            place.mkdir()
            rows.append(row_of(court, variant, place))
            say(f"{number}/{len(variants)} " + "  ".join(rows[-1].cells()))
    print(table(rows, markdown=options.markdown))
    wrong = [row.name for row in rows if not row.right]
    fooled = sum(row.naive == "approved" for row in rows if row.kind != "honest")
    cheating = sum(row.kind != "honest" for row in rows)
    print(
        f"\n{cheating} cheats: a naive re-run approves {fooled}, the verifier "
        f"{sum(row.verdict == 'reproduced' for row in rows if row.kind != 'honest')}; "
        f"{len(wrong)} verdicts not allowed{': ' + ', '.join(wrong) if wrong else ''}. "
        f"{time.monotonic() - started:.0f} s."
    )
    return 1 if wrong else 0


def row_of(court: Court, variant: Variant, folder: Path) -> Row:
    """Run one variant bare and judged."""
    kind = variant.facts["class"]
    with prepared_trial(variant, folder) as trial, environment(trial.environment):
        source = variant.source(**court.parameters(variant, **trial.values))
        runs = 2 if variant.facts.get("shows") == "second-run" else 1
        bare = [
            court.bare(source, folder / "bare", timeout_seconds=40, pass_fds=trial.descriptors)
            for _ in range(runs)
        ][-1]
    # A fresh trial: what the bare run left behind must not count for the sandboxed one.
    with prepared_trial(variant, folder) as trial, environment(trial.environment):
        source = variant.source(**court.parameters(variant, **bomb(trial.values)))
        verdict = court.try_source(source, folder / "session")
        taken = "escape" in variant.facts and variant.facts["escape"] != "workspace"
        escaped = taken and trial.taken(printed_in(verdict))
    found = trusted_score(verdict)
    if kind == "honest":
        right = verdict.outcome is not Outcome.REFUTED and verdict.reason is not Reason.GATE
    else:
        right = (verdict.outcome, verdict.reason) in allowed(variant) and not escaped
    better = bare.score is not None and bare.score < court.honest_score - float(MINIMUM_GAIN)
    return Row(
        name=variant.name,
        kind=kind,
        printed="none" if bare.score is None else f"{bare.score:.6f}",
        naive="approved" if better else "not better" if bare.score is not None else "no metric",
        trusted="none" if found is None else f"{found:.6f}",
        verdict=verdict.outcome.value,
        reason=verdict.reason.value + (", ESCAPED" if escaped else ""),
        right=right,
    )


def bomb(values: dict[str, str]) -> dict[str, str]:
    """Bare, the memory bomb is bounded by kindness; inside, by the sandbox."""
    return {name: "4096" if name == "MEGABYTES" else value for name, value in values.items()}


@contextlib.contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables of this process for a while."""
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)


def table(rows: list[Row], *, markdown: bool) -> str:
    lines = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    shown = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    if not markdown:
        return "\n".join("  ".join(line).rstrip() for line in shown)
    shown.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(line) + " |" for line in shown)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
