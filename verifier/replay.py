"""A verdict replayed from what it left behind, on any machine and without a network. Pure.

Steps; each is one ``Check``, which holds, does not, or could not be made (and says why):

0. the pack and the bundle in it are canonical and hold exactly what they list;
1. the attestation is signed by the validator whom it names;
2. the report is the one whose root is signed, and the bundle the one whose root the report states;
3. every log has the digest that its run's record states, and prints the metric that the record says it does;
4. candidate, claim and environment are those whose roots and digests are stated;
5. no run is listed twice; the noise record lists its runs, and its figures are not smaller than those allow;
6. the rule, asked again about these records, gives this outcome for this reason;
7. every figure of the report follows from the records;
8. the attestation's samples, means and circumstances are those; its lower bound is not above what the pairs
   give, and the chained score follows from it.

What a replay cannot show stands in ``replaychecks.NOT_SHOWN``. It shows that this verdict follows from what
the validator says it measured, that nothing of it was changed since it was signed, and who signed it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from armlx_chain.errors import CandidateError, FormatError, MetricError, RootFormatError, SigningError
from armlx_chain.formats.attestation import Attestation, SignedAttestation
from armlx_chain.formats.bundle import read_candidate
from armlx_chain.formats.canonical import parse_canonical
from armlx_chain.formats.evidence import Evidence
from armlx_chain.formats.verdictpack import VerdictBundle, VerdictPack, parse_report
from armlx_chain.protocol.metric import extract_metric, rule_from_pattern
from armlx_chain.protocol.score import chained_score
from armlx_chain.signing.eip712 import check_attestation_signature, check_evidence_signature
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Root, ScaledScore
from verifier.gate import check_sources
from verifier.hardware import EnvironmentFacts
from verifier.model import Outcome, Reason, Verdict
from verifier.replaychecks import Book, Check, Holds
from verifier.replaymeasured import alike, late, noise_problem, noise_words, one_run_twice, runs_words
from verifier.replayrule import Measured, measured, replay_rule, same_explanation, shown
from verifier.report import absolute_means, to_tree
from verifier.samples import samples_of, statable

__all__ = ["BUNDLE_FACT", "BUNDLE_SIZE_FACT", "Check", "Holds", "Replayed", "bindings", "bundle_of", "replay"]

BUNDLE_FACT: Final = "bundle-root"
BUNDLE_SIZE_FACT: Final = "bundle-bytes"
"""Names of the report's facts that hold the bundle's root and its length, which a 0G root leaves open."""
_JUDGED: Final = (
    "rule", "outcome", "reason", "noise", "test", "gains", "mean_gain", "lower_bound", "llr", "control_mean",
    "candidate_mean", "pairs", "repeats", "accepted_here",
)  # fmt: skip
"""Members of a report that follow from the records. The others are words, what a person should look at, and
simulated chances, which may differ in their last digit between versions of the random numbers' library."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay found.

    Attributes:
        outcome, reason: As the report states them; believe them only where ``is_sound``.
        facts: The report's.
        attestation: ``None`` where the pack holds none.
        signed_root: Of the attestation, as the ledger names it; ``None`` without a good signature.
    """

    outcome: Outcome
    reason: Reason
    bundle: VerdictBundle
    bundle_root: Root
    report_root: Root
    checks: tuple[Check, ...]
    facts: Mapping[str, Any]
    attestation: Attestation | None = None
    signed_root: Root | None = None

    @property
    def is_sound(self) -> bool:
        """Nothing contradicts anything."""
        return all(check.holds is not Holds.NO for check in self.checks)

    @property
    def is_signed(self) -> bool:
        return self.signed_root is not None

    @property
    def score(self) -> ScaledScore | None:
        return None if self.attestation is None else self.attestation.verified_score


def replay(pack: VerdictPack) -> Replayed:
    """Replay a verdict.

    Raises:
        FormatError: a part is damaged, or the verdict was reached by a rule that this program does not know.
    """
    book = Book()
    bound = _bindings(pack, book)
    report, attestation = bound.report, bound.attestation
    bundle = VerdictBundle.parse(pack.bundle)
    records = measured(bundle)
    _logs(book, bundle, records)
    _printed(book, bundle, records)
    _runs(book, bundle, records)
    _papers(book, bundle, report)
    _environment(book, bundle)
    _noise(book, bundle, records)
    found = replay_rule(bundle, records, report)
    book.note("rule", found.mismatch, found.sentence)
    if found.verdict is not None:
        _report(book, report, found.verdict)
        if attestation is not None:
            _attested(book, attestation, bundle, found.verdict)
    _circumstances(book, report, bundle)
    return Replayed(
        outcome=Outcome(report["outcome"]),
        reason=Reason(report["reason"]),
        bundle=bundle,
        bundle_root=bound.bundle_root,
        report_root=bound.report_root,
        checks=tuple(book.checks),
        facts=report["evidence"],
        attestation=attestation,
        signed_root=bound.signed_root,
    )


def bindings(pack: VerdictPack) -> tuple[Check, ...]:
    """Steps 1 and 2 alone: what a signature on the pack covers, whatever it says.

    Raises:
        FormatError: a part is damaged.
    """
    book = Book()
    _bindings(pack, book)
    return tuple(book.checks)


def bundle_of(report: Mapping[str, Any]) -> tuple[Root, int] | None:
    """Root and length of the bundle that a report names; ``None`` where it names none.

    Raises:
        FormatError: what it names is no root, or no length.
    """
    facts = report["evidence"]
    root, size = facts.get(BUNDLE_FACT), facts.get(BUNDLE_SIZE_FACT)
    if root is None:
        return None
    try:
        return Root.parse(root), int(size)
    except (RootFormatError, ValueError, TypeError, AttributeError) as refused:
        raise FormatError("The report names its bundle in a way that cannot be read.") from refused


@dataclass(frozen=True, slots=True)
class _Bound:
    report: dict[str, Any]
    report_root: Root
    bundle_root: Root
    attestation: Attestation | None
    signed_root: Root | None


def _bindings(pack: VerdictPack, book: Book) -> _Bound:
    report = parse_report(pack.report)
    report_root, bundle_root = root_of(pack.report), root_of(pack.bundle)
    attestation, signed_root = _attestation(pack.attestation, report_root, book)
    stated = report["evidence"].get(BUNDLE_FACT)
    wrong = None if stated == str(bundle_root) else f"the report names {stated}, the bundle is {bundle_root}"
    size = report["evidence"].get(BUNDLE_SIZE_FACT)
    if wrong is None and size != str(len(pack.bundle)):
        wrong = f"the report names a bundle of {size} bytes, this one has {len(pack.bundle)}"
    book.note("bundle root", wrong, f"the bundle is {bundle_root}")
    return _Bound(report, report_root, bundle_root, attestation, signed_root)


def _attestation(data: bytes | None, report_root: Root, book: Book) -> tuple[Attestation | None, Root | None]:
    """The attestation and, where its signature is good, its root."""
    if data is None:
        book.leave_open("signature", "nobody signed it: it shows what was found, and binds nobody")
        return None, None
    tree = parse_canonical(data, what="The attestation")
    signed_root = None
    if isinstance(tree, dict) and "signature" in tree:
        document = SignedAttestation.parse(data)
        attestation = document.attestation
        problem = _bad_signature(document)
        signed_root = root_of(data) if problem is None else None
        book.note("signature", problem, f"{attestation.validator} signed the attestation")
    else:
        attestation = Attestation.read(tree)
        book.leave_open("signature", "the attestation is not signed: it binds nobody")
    stated = attestation.report_root
    wrong = None if stated == report_root else f"the attestation is on report {stated}, this is {report_root}"
    book.note("report root", wrong, f"the report is {report_root}")
    return attestation, signed_root


def _bad_signature(document: SignedAttestation) -> str | None:
    try:
        check_attestation_signature(document)
    except SigningError as refused:
        return refused.message
    return None


def _logs(book: Book, bundle: VerdictBundle, records: Measured) -> None:
    left_out = []
    for entry, record in zip(bundle.case.logs, records.runs, strict=True):
        if entry.why is not None:
            left_out.append(f"{entry.name} ({entry.why})")
        elif hashlib.sha256(bundle.logs[entry.name]).hexdigest() != record.log_sha256:
            book.note("logs", f"the log of {entry.name} is not the one that its record is about", "")
            return
    if bundle.logs:
        book.note("logs", None, f"{len(bundle.logs)} logs have the digests that their records state")
    if left_out:
        book.leave_open("logs left out", ", ".join(left_out))


def _printed(book: Book, bundle: VerdictBundle, records: Measured) -> None:
    metric = bundle.case.about.metric
    if metric is None or not bundle.logs:
        return
    try:
        rule = rule_from_pattern(*metric)
    except MetricError as refused:
        book.leave_open("printed metrics", refused.message)
        return
    stated = 0
    for entry, record in zip(bundle.case.logs, records.runs, strict=True):
        if entry.why is not None:
            continue
        try:
            text: str | None = extract_metric(bundle.logs[entry.name], rule).text
        except MetricError:
            text = None
        if text != record.printed_metric:
            problem = f"the log of {entry.name} prints {text}, its record says {record.printed_metric!a}"
            book.note("printed metrics", problem, "")
            return
        stated += text is not None
    book.note("printed metrics", None, f"{stated} of {len(bundle.logs)} logs print one, as recorded")


def _papers(book: Book, bundle: VerdictBundle, report: Mapping[str, Any]) -> None:
    about = bundle.case.about
    decided = report.get("outcome") != Outcome.UNDECIDED.value
    if bundle.candidate is None:
        _missing(book, "candidate", "the candidate's bundle is not in it", decided=decided)
        return
    try:
        authorship, files = read_candidate(bundle.candidate)
        evidence = None if bundle.evidence is None else Evidence.parse(bundle.evidence)
        if evidence is not None:
            check_evidence_signature(evidence)
    except (FormatError, SigningError) as refused:
        book.note("candidate", refused.message, "")
        return
    actual = root_of(bundle.candidate)
    is_copy = report.get("reason") in (Reason.COPIED.value, Reason.UNREPEATED.value, Reason.EVIDENCE.value)
    place = (int(authorship.project_id), authorship.chain_id)
    wrong = None if actual == about.candidate_root else f"the candidate is {actual}"
    if wrong is None and not is_copy and place != (int(about.project_id), about.domain.chain_id):
        wrong = "the candidate was packed for another project or chain"
    book.note("candidate", wrong, f"the candidate is {actual}, packed by {authorship.miner}")
    if bundle.case.pairs:
        _gate(book, files)
    if evidence is None:
        _missing(book, "claim", "the miner's claim is not in it", decided=decided)
        return
    claim, proposer = evidence.claim, report["evidence"].get("proposer")
    same = (claim.digest(), claim.candidate_root, claim.domain, int(claim.project_id)) == (
        about.claim_digest, about.candidate_root, about.domain, int(about.project_id),
    )  # fmt: skip
    same = same and (is_copy or claim.miner == authorship.miner) and proposer in (None, claim.miner)
    problem = None if same else "the miner's claim is another one, or about another candidate"
    book.note("claim", problem, f"{claim.miner} signed the claim on this candidate")


def _gate(book: Book, files: Mapping[str, bytes]) -> None:
    """Nothing that the source gate refuses is run; but another version's gate may have let it pass."""
    try:
        check_sources(files)
    except CandidateError as refused:
        book.leave_open("source gate", f"this version would have run nothing: {refused.message}")


def _missing(book: Book, name: str, what: str, *, decided: bool) -> None:
    """What every decided verdict rests on, and an undecided one may lack."""
    if decided:
        book.note(name, f"{what}, and a decided verdict rests on it", "")
    else:
        book.leave_open(name, what)


def _runs(book: Book, bundle: VerdictBundle, records: Measured) -> None:
    runs = [(entry.name, run) for entry, run in zip(bundle.case.logs, records.runs, strict=True)]
    if not runs:
        return
    twice = one_run_twice(runs, bundle.logs)
    book.note("runs", twice, runs_words(runs))
    for name, doubt in (("runs alike", alike(runs, bundle.logs)), ("deadline", late(runs, records.noise))):
        if doubt is not None:
            book.leave_open(name, doubt)


def _environment(book: Book, bundle: VerdictBundle) -> None:
    stated = bundle.case.about.environment_digest
    if bundle.environment is None or stated is None:
        book.leave_open("environment", "the facts behind its digest are not in it")
        return
    actual = EnvironmentFacts(bundle.environment).digest
    wrong = None if actual == stated.digest.hex() else f"the facts' digest is {actual}, not {stated}"
    book.note("environment", wrong, f"{len(bundle.environment)} facts have the digest {actual[:16]}…")


def _noise(book: Book, bundle: VerdictBundle, records: Measured) -> None:
    noise, about = records.noise, bundle.case.about
    if noise is None:
        return
    here = (
        about.hardware_class,
        None if about.environment_digest is None else about.environment_digest.digest,
    )
    measured_on = (noise.hardware_class, _digest(noise.environment))
    if about.hardware_class is not None and here != measured_on and records.pairs:
        book.note("noise", "the noise was measured on another class or environment", "")
    else:
        problem = noise_problem(noise)
        book.note("noise", problem, "" if problem else noise_words(noise))


def _digest(text: str) -> bytes | None:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None


def _report(book: Book, report: Mapping[str, Any], verdict: Verdict) -> None:
    expected = to_tree(replace(verdict, evidence=report["evidence"]))
    differs = [name for name in _JUDGED if _plain(expected[name]) != _plain(report.get(name))]
    strange = sorted(report.keys() ^ expected.keys())
    facts = report["evidence"]
    missing = [n for n, text in verdict.evidence.items() if shown(str(facts.get(n))) != shown(text)]
    problem = None
    if differs or strange or missing:
        problem = f"the report's {', '.join([*differs, *strange, *missing])} do not follow from the records"
    elif not same_explanation(report, verdict):
        problem = "the report explains another finding"
    book.note("report", problem, f"{len(_JUDGED)} members follow from {len(verdict.pairs)} pairs")
    words = ("prospect", "limits", "means", "next_step", "would_change")
    other = [name for name in words if _plain(expected[name]) != _plain(report.get(name))]
    if other:
        book.leave_open("words", f"{', '.join(other)}: another version's; they decide nothing")


def _plain(value: object) -> object:
    """Lists and tuples alike."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _circumstances(book: Book, report: Mapping[str, Any], bundle: VerdictBundle) -> None:
    """What the report says it was reached on, against the case."""
    about, rules = bundle.case.about, bundle.case.rules
    stated = {
        "control-root": _text(about.control_root),
        "current-best": _text(about.current_best),
        "evaluation-root": _text(about.evaluation_root),
        "evaluation-seed": None if about.evaluation_seed is None else f"0x{about.evaluation_seed.hex()}",
        "evaluation-block": _text(about.evaluation_block),
        "control-disadvantage": None if rules is None else f"{rules.disadvantage:.9f}",
    }
    facts = report["evidence"]
    wrong = [name for name, text in stated.items() if name in facts and facts[name] != text]
    problem = None if not wrong else f"the report's {', '.join(wrong)} are not the case's"
    book.note("circumstances", problem, f"proposal {about.proposal_id} on chain {about.domain.chain_id}")


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _attested(book: Book, stated: Attestation, bundle: VerdictBundle, verdict: Verdict) -> None:
    wrong = [name for name, is_same in _compared(stated, bundle, verdict) if not is_same]
    problem = None if not wrong else f"the attestation's {', '.join(wrong)} are not those of the case"
    book.note("attestation", problem, f"{stated.pairs} samples and all circumstances are the case's")
    if verdict.outcome is not Outcome.REPRODUCED:
        return
    attested, found = stated.lower_bound or Decimal(0), verdict.lower_bound or Decimal(0)
    if attested > found:
        book.note("score", f"the attested lower bound {attested} is above {found}, which the pairs give", "")
        return
    expected = chained_score(stated.current_best, attested)
    least = "" if attested == found else f" (these pairs alone give {found}: the lowest of several machines)"
    good = f"C {stated.current_best} and L {attested} give {expected}{least}"
    problem = None if stated.verified_score == expected else f"the score is not {expected}"
    book.note("score", problem, good)


def _compared(stated: Attestation, bundle: VerdictBundle, verdict: Verdict) -> Iterator[tuple[str, bool]]:
    about = bundle.case.about
    control, candidate = absolute_means(verdict)
    noise = None if verdict.noise is None else verdict.noise.s
    yield "chain and ledger", (stated.domain, stated.genesis_hash) == (about.domain, about.genesis_hash)
    yield "proposal", stated.proposal_id == about.proposal_id
    yield "claim", stated.claim_digest == about.claim_digest
    yield "candidate", stated.candidate_root == about.candidate_root
    yield "control", stated.control_root == about.control_root
    yield "current best", stated.current_best == about.current_best
    yield "verdict", (stated.outcome, stated.reason, stated.rule_id) == (
        verdict.outcome.value, verdict.reason.value, verdict.rule,
    )  # fmt: skip
    yield "means", (stated.mean_control, stated.mean_candidate) == (statable(control), statable(candidate))
    yield "mean gain", stated.mean_gain == verdict.mean_gain
    yield "lower bound", (stated.lower_bound is None) == (verdict.lower_bound is None)
    yield "noise", stated.noise == noise
    yield "samples", stated.samples == samples_of(verdict)
    yield "hardware class", stated.hardware_class == about.hardware_class
    yield "environment", stated.environment_digest == about.environment_digest
    yield "evaluation root", stated.evaluation_root == about.evaluation_root
    yield "seed", (stated.evaluation_seed, stated.evaluation_block) == (
        about.evaluation_seed, about.evaluation_block,
    )  # fmt: skip
    yield "validator", stated.validator == about.validator
