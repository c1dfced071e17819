"""Checks and what they find, whatever they look at.

- A check is a title and a function that yields findings; it changes nothing.
- An error of ours that a check does not expect becomes a fault with the error's own next step, so that one
  broken part does not hide the others.
- What was not looked at is said (``skipped``), never passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from armlx_chain.errors import ArmlxError

State = Literal["ok", "note", "fault", "skipped"]
"""Works; works, but one should know; must be mended; was not looked at."""

_OTHERWISE = "See the documentation of this part, then run doctor again."
_SIGNS: dict[State, str] = {"ok": "ok", "note": "note", "fault": "FAULT", "skipped": "skipped"}


@dataclass(frozen=True, slots=True)
class Finding:
    """Attributes:
    name: What was looked at, in a few words.
    seen: What was seen.
    next_step: What to do about it; a fault always has one.
    details: Further rows, for people and ``--json`` alike.
    """

    name: str
    state: State
    seen: str
    next_step: str = ""
    details: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "state": self.state,
            "seen": self.seen,
            "next": self.next_step or None,
            "details": list(self.details),
        }


@dataclass(frozen=True, slots=True)
class Check:
    """Attributes:
    group: What it is about: findings of one group are shown together.
    title: What is being looked at, while that takes time.
    look: Looks. Raises what an ``ArmlxError`` or the system has to say.
    """

    group: str
    title: str
    look: Callable[[], Iterable[Finding]]


@dataclass(slots=True)
class Report:
    """All findings by group, in the order of the checks."""

    groups: dict[str, list[Finding]] = field(default_factory=dict)

    def add(self, group: str, findings: Iterable[Finding]) -> None:
        self.groups.setdefault(group, []).extend(findings)

    def all(self) -> list[Finding]:
        return [finding for findings in self.groups.values() for finding in findings]

    @property
    def faults(self) -> list[Finding]:
        return [finding for finding in self.all() if finding.state == "fault"]

    def as_json(self) -> dict[str, object]:
        shown = {group: [one.as_json() for one in findings] for group, findings in self.groups.items()}
        return {"healthy": not self.faults, "faults": len(self.faults), "groups": shown}

    def lines(self) -> list[str]:
        """For a person: group by group, what to do under what is wrong."""
        width = max((len(finding.name) for finding in self.all()), default=0)
        lines = []
        for group, findings in self.groups.items():
            lines.append(group)
            for finding in findings:
                lines.append(f"  {_SIGNS[finding.state]:<7} {finding.name:<{width}}  {finding.seen}")
                lines += [f"  {'':<7} {'':<{width}}  - {detail}" for detail in finding.details]
                if finding.next_step and finding.state != "ok":
                    lines.append(f"  {'':<7} {'':<{width}}  -> {finding.next_step}")
        return lines


def run_checks(checks: Sequence[Check], *, begun: Callable[[str], None] = lambda title: None) -> Report:
    """Every check, one after the other.

    Args:
        begun: Called with a check's title before it looks.
    """
    report = Report()
    for check in checks:
        begun(check.title)
        report.add(check.group, _look(check))
    return report


def _look(check: Check) -> list[Finding]:
    found: list[Finding] = []
    try:
        for finding in check.look():
            found.append(finding)
    except ArmlxError as error:
        found.append(of_error(check.title, error))
    except OSError as error:
        found.append(
            Finding(check.title, "fault", f"{error}", "Look at this file or device, then try again.")
        )
    return found


def of_error(name: str, error: ArmlxError, *, otherwise: str = _OTHERWISE) -> Finding:
    """An error as a fault, with its own next step, or the given one where it has none."""
    meaning = (error.meaning,) if error.meaning else ()
    return Finding(name, "fault", error.message, error.next_step or otherwise, meaning)
