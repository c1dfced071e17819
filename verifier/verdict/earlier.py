"""What an undecided test may be continued with: its own pairs, of one subject, under the same conditions.

- A ``Subject`` is everything that must be equal before two pairs belong to one test: the candidate's bytes,
  the control's bytes, hardware class, environment, rule, and the test's numbers (s, m, disadvantage).
- ``Earlier`` carries the subject its pairs were measured for. ``require`` refuses another one and names what
  differs: pairs are pooled for byte-equal candidates only, with the same control, class and environment.
- All pairs go along, the voided ones too, and so does every pair that was begun and never ended: together no
  more than one of them is allowed in a test, however many sessions it took. Otherwise a program that spoils a
  run whenever its loss looks poor could draw again.

::

    subject = Subject.of(noise, rules, control_files, candidate_files)
    verdict = judge(…, earlier=Earlier(stored_subject, stored_pairs))   # refused unless it is this subject
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from armlx_chain.errors import FormatError, UsageError
from armlx_chain.formats.canonical import canonical_json, parse_canonical
from verifier.model import Noise, Pair
from verifier.verdict.case import Rules
from verifier.verdict.constants import RULE_ID
from verifier.verdict.rule import Test

_WORDS = {
    "candidate": "the candidate's files",
    "control": "the control's files",
    "hardware_class": "the hardware class",
    "environment": "the environment (system, MLX, Python or lock)",
    "rule": "the rule",
    "s": "the calibrated noise",
    "m": "the smallest gain the test looks for",
    "disadvantage": "the control's disadvantage",
}


def files_digest(files: Mapping[str, bytes]) -> str:
    """SHA-256 over names and contents; equal only for byte-equal files."""
    whole = hashlib.sha256()
    for name in sorted(files):
        for part in (name.encode("utf-8", "surrogatepass"), files[name]):
            # Each part by its own digest, so that nothing can be shifted from one to the next.
            whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()


@dataclass(frozen=True, slots=True)
class Subject:
    """What is compared with what, where, and by which test. Text throughout, so that it can be stored.

    Attributes:
        candidate, control: ``files_digest`` of the replacement files.
        hardware_class, environment: Of the calibration that the session uses.
        rule: Identifier and version.
        s, m, disadvantage: The test's numbers, bits per byte to nine digits.
    """

    candidate: str
    control: str
    hardware_class: str
    environment: str
    rule: str
    s: str
    m: str
    disadvantage: str

    @classmethod
    def of(
        cls, noise: Noise, rules: Rules, control: Mapping[str, bytes], candidate: Mapping[str, bytes]
    ) -> Subject:
        """The subject of a session with these programs here."""
        test = Test.of(noise, project_minimum=rules.project_minimum)
        return cls(
            candidate=files_digest(candidate),
            control=files_digest(control),
            hardware_class=noise.hardware_class,
            environment=noise.environment,
            rule=RULE_ID,
            s=f"{test.s:.9f}",
            m=f"{test.m:.9f}",
            disadvantage=f"{rules.disadvantage:.9f}",
        )

    def text(self) -> str:
        """Canonical JSON, to be stored with the pairs."""
        return canonical_json(asdict(self)).decode()

    @classmethod
    def read(cls, text: str) -> Subject:
        """The subject that was stored.

        Raises:
            FormatError: it is none.
        """
        tree = parse_canonical(text.encode(), what="a test's subject")
        names = {field.name for field in fields(cls)}
        if not isinstance(tree, dict) or set(tree) != names or not all(type(v) is str for v in tree.values()):
            raise FormatError("This is not the subject of a test.")
        return cls(**tree)


@dataclass(frozen=True, slots=True)
class Earlier:
    """The pairs of earlier sessions of one test.

    Attributes:
        subject: What they were measured for.
        pairs: All of them in order, the voided ones among them.
        interrupted: Pairs that were begun and never ended.
    """

    subject: Subject
    pairs: tuple[Pair, ...] = ()
    interrupted: int = 0

    def require(self, now: Subject) -> None:
        """Refuse to continue another test.

        Raises:
            UsageError: something differs; ``details`` names it.
        """
        names = [f.name for f in fields(Subject) if getattr(self.subject, f.name) != getattr(now, f.name)]
        if names or self.interrupted < 0:
            raise UsageError(
                "These pairs belong to another test: "
                f"{'; '.join(_WORDS[name] for name in names) or 'its count'} differs.",
                meaning="Pairs are pooled only for byte-equal candidates with the same control, hardware "
                "class, environment, rule and noise. Nothing was run.",
                next_step="Continue with the files and the calibration that the test was begun with, or "
                "leave the case to another machine.",
                details={"differs": names},
            )
