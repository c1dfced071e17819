"""What each outcome and reason means for a person: what was found, what to do now, what would change it.

- Every reason has an entry; a test walks them all. A sentence here decides nothing.
- No entry blames a miner for anything that may be the machine's or the verifier's doing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from verifier.model import Outcome, Reason
from verifier.verdict.constants import LAST_LIMIT

NOT_PROVEN: Final = (
    "Not proven: that the miner ran anything, that the result carries over to other hardware, that the idea "
    "is new, that no prior knowledge below the size limit is in the source, that this verifier is honest."
)

FOUND: Final = {
    Outcome.REPRODUCED: (
        "Proven: code with this root, given only the training data, produced within the deadline on this "
        "machine a fixed function of a bounded window of tokens, causal but for a bounded fraction of "
        "positions, whose normalised scores on the pinned rows and on fresh rows are the ones shown."
    ),
    Outcome.UNIMPROVED: (
        "Found: on this machine the candidate is not better than the control by more than noise. That is no "
        "fault of the miner's, and nothing is sent."
    ),
    Outcome.REFUTED: "Proven: the fault named above, twice and independently, and nothing else.",
    Outcome.UNDECIDED: "Proven: nothing about the candidate. Nothing is sent, and others may try.",
}


@dataclass(frozen=True, slots=True)
class Words:
    """About one reason.

    Attributes:
        means: What the reason says, in general; the verdict's explanation has the figures.
        next_step: What the miner can do now.
        change: What would change the verdict.
    """

    means: str
    next_step: str
    change: str


_DOUBT: Final = "Evidence that one of the two failed audits, or one of the two controls, was in error."
_ASK: Final = (
    "Run reproduce on this candidate: it makes the same audits with the same thresholds and shows where they "
    "fail. If it passes there, keep both reports and take them to the validator before the rejection settles."
)

WORDS: Final = {
    Reason.IMPROVEMENT_CONFIRMED: Words(
        "The candidate beat the control by more than noise explains, on validation rows and on fresh rows.",
        "Submit it with this run folder. The ledger takes the verified lower bound, not the best pair.",
        "A control or current best that moves before settlement supersedes it.",
    ),
    Reason.NO_IMPROVEMENT: Words(
        "The pairs speak against a gain as large as the smallest one the test looks for.",
        "Do not submit it as it is. A smaller gain can be real; put several of them into one candidate.",
        "Only a changed candidate: its gain is below the smallest one the test looks for.",
    ),
    Reason.CLEARLY_WORSE: Words(
        "The first pair was so far behind the control that no further one was run.",
        "Check that the file is the one you meant, and that it was tuned for this budget and hardware.",
        "Only a changed candidate.",
    ),
    Reason.RUN_WITHOUT_MODEL: Words(
        "One run of the candidate ended without a model, and the control beside it did not. Every run "
        "counts, or a program could stop whenever its loss looks poor.",
        "Read that run's log (its ending is named above), and make the candidate finish in every run.",
        "A candidate that hands over its model in every run, within the deadline.",
    ),
    Reason.CAUSALITY_VIOLATED: Words(
        "The model's predictions moved when only later tokens were replaced: it looks ahead.",
        _ASK,
        _DOUBT,
    ),
    Reason.VALIDATION_GAP: Words(
        "The model knows the public validation rows far better than fresh rows of the same kind.",
        _ASK,
        _DOUBT,
    ),
    Reason.FORGED_MESSAGE: Words(
        "The program wrote messages on the trusted channel that only the verifier's side sends.",
        "Take everything out of the candidate that writes to inherited descriptors or replaces the harness; "
        "reproduce names the message.",
        _DOUBT,
    ),
    Reason.COPIED: Words(
        "The bundle is byte for byte an earlier proposal's and names that proposal's miner as its author.",
        "Submit your own work, packed by your own account.",
        "Proof that the other proposal was not earlier, or its bundle not this one.",
    ),
    Reason.GATE: Words(
        "The source breaks a rule that is checked before anything runs. Nothing was run, sent or slashed.",
        "Change what the explanation names, and run reproduce again.",
        "A candidate that keeps to the mutable surface and the source rules.",
    ),
    Reason.EVIDENCE: Words(
        "The published evidence is incomplete, unsigned, or does not match its digests.",
        "Run submit again for this proposal: it uploads what is missing, with the roots that were claimed.",
        "Complete evidence that matches its digests and signature.",
    ),
    Reason.UNSUPPORTED: Words(
        "The model cannot be exported as a pure graph of supported primitives, or its graph is beyond the "
        "limits. That is final for this rule and no fault.",
        "Make model(x) traceable: no .item(), no numpy, no custom kernel in the forward pass. reproduce says "
        "what is in the way.",
        "A model that can be exported as a graph of the supported primitives.",
    ),
    Reason.CONTROL_UNAVAILABLE: Words(
        "The code that the candidate has to be compared with could not be proved here.",
        "Nothing on your side. If you keep the current best's bundle, upload it again.",
        "A provable copy of the current best's code.",
    ),
    Reason.CONTROL_FAILED: Words(
        "The control itself failed on this machine, so nothing was learned about the candidate.",
        "Run reproduce on another machine, or on this one when nothing else uses it.",
        "A machine on which the control runs and passes its audits.",
    ),
    Reason.TOO_NOISY: Words(
        "The runs differ by more than this machine's calibrated noise explains, or too many were disturbed.",
        "Close what else runs, wait until the machine is cool, calibrate again. A candidate whose own scores "
        "vary from run to run has to become steadier.",
        "A quieter machine, or a new calibration.",
    ),
    Reason.MORE_PAIRS_NEEDED: Words(
        "The gain lies between none and the smallest one the test looks for; the pairs so far do not decide.",
        f"Let this machine continue the same test, to {LAST_LIMIT} pairs at most, or improve the candidate.",
        f"More pairs on this machine, up to {LAST_LIMIT}.",
    ),
    Reason.SEED_UNAVAILABLE: Words(
        "The block that the fresh rows are drawn from is not final, or the endpoints disagree about it.",
        "Nothing on your side; it is tried again.",
        "The block from whose hash the rows are drawn, once it is final.",
    ),
    Reason.VERIFIER_FAULT: Words(
        "Something failed on the verifier's own side.",
        "Nothing on your side. For a verifier's operator: armlx-chain doctor names what does not work.",
        "A repaired verifier.",
    ),
    Reason.UNREPEATED: Words(
        "An audit failed in one run and not in its repetition, so nothing is proven and nothing approved.",
        "Run reproduce several times; a model that fails an audit now and then is near its threshold.",
        "A session on another machine: the audit failed in one run and not in another.",
    ),
    Reason.UNCALIBRATED: Words(
        "An audit failed whose threshold was never calibrated on this hardware class.",
        "Look at the audit's figures; on a calibrated machine the same failure would count.",
        "A calibration of the audit's threshold on this hardware class.",
    ),
}
