"""What the rule says of a bundle's records: the verdict that must have been reached. Pure.

- A decided verdict (anything but undecided) must follow from the records, else it is a mismatch.
- Undecided for a reason that only the judging machine could know (its own fault, a block it could not read)
  is taken for what it is: nothing was sent for it.
- The records must be those of a session that the rule itself would have led: after every pair but the last it
  wanted another one, and nothing was repeated that it did not ask for.
- What the rule was told besides must be what this program tells it: no handicap in the candidate's favour, no
  smallest gain or number of pairs of the validator's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from armlx_chain.claims.likeness import Likeness
from armlx_chain.errors import CandidateError, FormatError, RootFormatError
from armlx_chain.formats.bundle import read_candidate
from armlx_chain.formats.verdictpack import VerdictBundle
from armlx_chain.types import Address, ProposalId, Root
from verifier.calibrationfile import recorded_noise
from verifier.copies import with_no_op
from verifier.gate import check_sources
from verifier.model import Noise, Outcome, Pair, Reason, Role, RunRecord, Verdict
from verifier.records import read_pair, read_record
from verifier.report import plain
from verifier.verdict.case import Case, Rules, Want, next_step
from verifier.verdict.constants import LAST_LIMIT, MINIMUM_GAIN, RULE_ID
from verifier.verdict.plain import WITHOUT_RUNS, CopyEvidence, judge_copy, without_runs

__all__ = ["Measured", "Replay", "measured", "replay_rule", "same_explanation", "shown"]

_NOWHERE = Path("in-the-bundle")
_SHOWN = 500
"""Of an explanation so many characters are compared: what follows may be a program's own text, cut."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A bundle's records, read."""

    noise: Noise | None
    pairs: tuple[Pair, ...]
    repeats: tuple[RunRecord, ...]

    @property
    def runs(self) -> tuple[RunRecord, ...]:
        """All runs in the order in which the case lists their logs."""
        return (*(run for pair in self.pairs for run in (pair.control, pair.candidate)), *self.repeats)


@dataclass(frozen=True, slots=True)
class Replay:
    """What the rule says.

    Attributes:
        verdict: What must have been found; ``None`` where nothing in the bundle tells.
        mismatch: Why the stated verdict cannot be right; ``None`` where it can.
        sentence: What was done, for a person.
    """

    verdict: Verdict | None
    sentence: str
    mismatch: str | None = None


def measured(bundle: VerdictBundle) -> Measured:
    """Read a bundle's records.

    Raises:
        FormatError: they are damaged.
    """
    case = bundle.case
    return Measured(
        noise=None if case.noise is None else recorded_noise(case.noise),
        pairs=tuple(read_pair(tree, _NOWHERE, _NOWHERE) for tree in case.pairs),
        repeats=tuple(read_record(tree, _NOWHERE) for tree in case.repeats),
    )


def replay_rule(bundle: VerdictBundle, records: Measured, report: Mapping[str, Any]) -> Replay:
    """Ask the rule again and compare outcome and reason with the report's.

    Raises:
        FormatError: the report names an unknown rule, outcome or reason.
    """
    outcome, reason = _stated(report)
    if report.get("rule") != RULE_ID:
        rule = str(report.get("rule"))[:40]
        raise FormatError(
            f"The verdict was reached by rule {rule!a}; this program knows {RULE_ID}.",
            next_step="Replay it with the version of the program that its case names.",
        )
    found = _by_rule(bundle, records)
    if found is None and not records.pairs:
        found = _without_pairs(bundle, reason, report)
    if isinstance(found, Verdict) and (found.outcome, found.reason) == (outcome, reason):
        return Replay(found, f"the rule, asked again, says {outcome} ({reason})")
    if outcome is Outcome.UNDECIDED and reason in WITHOUT_RUNS:
        taken = replace(without_runs(reason, "", noise=records.noise), pairs=records.pairs)
        return Replay(taken, f"{reason}: only the machine that judged could know; nothing follows from it")
    if isinstance(found, Verdict):
        said = f"{found.outcome} ({found.reason})"
    else:
        said = found or "nothing: there are no measurements to ask it about"
    return Replay(None, "", f"the report says {outcome} ({reason}), the rule says {said}")


def same_explanation(report: Mapping[str, Any], verdict: Verdict) -> bool:
    """Whether the report's explanation holds what the rule itself would have said."""
    text = report.get("explanation")
    return isinstance(text, str) and shown(verdict.explanation) in plain(text, len(text) + 1)


def shown(text: str) -> str:
    """The start of a text in which a program's own words may stand, as every report shows it."""
    return plain(text[:_SHOWN], _SHOWN)


def _stated(report: Mapping[str, Any]) -> tuple[Outcome, Reason]:
    try:
        return Outcome(report["outcome"]), Reason(report["reason"])
    except (KeyError, ValueError, TypeError) as unknown:
        raise FormatError("The report states no outcome and reason that are known.") from unknown


def _by_rule(bundle: VerdictBundle, records: Measured) -> Verdict | str | None:
    """The rule's verdict; a sentence where it gives none; ``None`` where it was never asked."""
    rules = bundle.case.rules
    if rules is None or records.noise is None or not (records.pairs or bundle.case.interrupted):
        return None
    case = Case(
        noise=records.noise,
        rules=Rules(
            pairs=rules.pairs,
            project_minimum=rules.project_minimum,
            disadvantage=rules.disadvantage,
            control_is_baseline=rules.control_is_baseline,
        ),
        pairs=records.pairs,
        repeats=records.repeats,
        interrupted=bundle.case.interrupted,
    )
    try:
        step = next_step(case)
        likeness = None if bundle.case.no_op is None else Likeness(bundle.case.no_op)
        strange = _told_otherwise(bundle, likeness) or _led_otherwise(case)
    except (ValueError, ArithmeticError) as refused:
        return f"that these figures are none ({refused})"
    if strange is not None:
        return strange
    return with_no_op(step, likeness) if isinstance(step, Verdict) else f"that another {step} is wanted"


def _told_otherwise(bundle: VerdictBundle, likeness: Likeness | None) -> str | None:
    """What the rule would never have been told, if anything."""
    about, rules = bundle.case.about, bundle.case.rules
    if rules is None:
        return None
    if not 1 <= rules.pairs <= LAST_LIMIT:
        return f"that no test has {rules.pairs} pairs"
    if rules.project_minimum != MINIMUM_GAIN:
        return f"that the smallest gain looked for is {MINIMUM_GAIN}, not {rules.project_minimum}"
    if rules.disadvantage < 0:
        return f"that a control is never worse than what it stands for ({rules.disadvantage})"
    roots = (about.control_root, about.snapshot_root)
    if None not in roots and rules.control_is_baseline != (roots[0] == roots[1]):
        return "that the control is the unmodified snapshot where the roots are equal, and nowhere else"
    is_itself = about.candidate_root is not None and about.candidate_root == about.control_root
    if is_itself and likeness is not Likeness.BYTES:
        return "that the candidate is the control"
    return None


def _led_otherwise(case: Case) -> str | None:
    """Why no session of the rule would have made exactly these runs; ``None`` where one would."""
    for count in range(len(case.pairs)):
        before = replace(case, pairs=case.pairs[:count], repeats=(), interrupted=0)
        if next_step(before) is not Want.PAIR:
            return f"that its test was over after {count} pairs, and more were made"
    if not case.repeats:
        return None
    if next_step(replace(case, repeats=())) is not Want.REPEAT:
        return "that nothing had to be repeated"
    roles = tuple(record.role for record in case.repeats)
    return None if roles == (Role.CANDIDATE, Role.CONTROL) else "that the repeats are not those of the two"


def _without_pairs(bundle: VerdictBundle, reason: Reason, report: Mapping[str, Any]) -> Verdict | str | None:
    if reason in (Reason.COPIED, Reason.UNREPEATED):
        return _copied(bundle, reason, report)
    if reason is Reason.GATE:
        return _refused_source(bundle)
    return None


def _copied(bundle: VerdictBundle, reason: Reason, report: Mapping[str, Any]) -> Verdict | str:
    facts = report["evidence"]
    try:
        found = CopyEvidence(
            proposal=ProposalId(int(facts["proposal"])),
            proposer=Address(facts["proposer"]),
            candidate_root=Root.parse(facts["root"]),
            author=Address(facts["author"]),
            original=ProposalId(int(facts["original"])),
            original_proposer=Address(facts["original-proposer"]),
            original_root=Root.parse(facts["root"]),
            confirmed=reason is Reason.COPIED,
        )
        author = read_candidate(bundle.candidate or b"")[0].miner
    except (KeyError, ValueError, TypeError, AttributeError, RootFormatError) as missing:
        return f"that the facts of a copy are incomplete ({missing})"
    except FormatError as refused:
        return f"that the candidate cannot be read: {refused.message}"
    about = bundle.case.about
    if (found.proposal, found.candidate_root) != (about.proposal_id, about.candidate_root):
        return "that the copy is another proposal's"
    if author != found.author:
        return f"that the bundle names {author} as its author"
    return judge_copy(found)


def _refused_source(bundle: VerdictBundle) -> Verdict | None:
    """The part of the checks before a run that needs the candidate alone."""
    try:
        check_sources(read_candidate(bundle.candidate or b"")[1])
    except CandidateError as refused:
        return without_runs(Reason.GATE, " ".join(refused.sentences()))
    except FormatError:
        return None
    return None
