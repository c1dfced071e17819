"""What a protocol's fields mean for a run on this machine. Pure.

Three kinds of answer: terms of the run (its program, its limits), notices that a person should read, and
refusals by name of what this build cannot judge. ``docs/protocol-fields.md`` lists every field.

::

    terms = terms_of(protocol, snapshot, constants, project_id=0, place=Place.here())
    terms.hard_wall_seconds, terms.program.arguments, terms.notices
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, NoReturn

from armlx_chain.errors import SetupRefused
from armlx_chain.protocol.model import Protocol
from armlx_chain.protocol.text import one_line
from verifier.environments.columns import unknown_columns
from verifier.environments.commands import Run, read_command, read_setup, redirected_log
from verifier.harness.constants import Constants
from verifier.harness.staging import TRAIN
from verifier.sandbox.interface import Limits

RUN_LOG: Final = "run.log"
_MANAGERS: Final = frozenset({"uv", "pip"})
_SIZE: Final = re.compile(r"([0-9]{1,9})(?:\.[0-9]{1,3})?\s*([kmgt]?)(i?b)?", re.ASCII)
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_MOST_PROCESSES: Final = 4096
_DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Place:
    """The machine, as far as a protocol speaks of machines.

    Attributes:
        memory_bytes: What the machine has; 0 where that is not known.
    """

    system: str
    architecture: str
    memory_bytes: int = 0

    @classmethod
    def here(cls, memory_bytes: int = 0) -> Place:
        return cls(sys.platform, platform.machine(), memory_bytes)

    @property
    def words(self) -> tuple[str, ...]:
        """Words by which a hint may name this machine."""
        arm = self.architecture in ("arm64", "aarch64")
        own = ("linux",) if self.system == "linux" else ("darwin", "mac", "macos")
        return (*own, "apple silicon") if self.system == "darwin" and arm else own


@dataclass(frozen=True, slots=True)
class Terms:
    """How a protocol wants its runs, as far as this machine follows it.

    Attributes:
        program: The script and its arguments.
        hard_wall_seconds: Wall time after which a run is killed.
        processes: As many as the protocol advises to allow; ``None``: no advice.
        notices: What a person should know, a sentence each.
    """

    program: Run
    hard_wall_seconds: float
    processes: int | None
    notices: tuple[str, ...]

    def limits(self, base: Limits) -> Limits:
        """Our limits of a training program, with room for as many processes as the protocol advises.

        Advice never makes a limit narrower: it protects nobody, and would end runs that use more.
        """
        return replace(base, processes=max(self.processes or 0, base.processes))


def terms_of(
    protocol: Protocol,
    snapshot: Mapping[str, bytes],
    constants: Constants,
    *,
    place: Place,
    project_id: int | None = None,
) -> Terms:
    """Read every field that concerns a run.

    Args:
        constants: Of the snapshot's own ``prepare.py``, which decides wherever the protocol says otherwise.
        project_id: On the chain; ``None`` before there is one.

    Raises:
        SetupRefused: naming the field that this build cannot follow.
    """
    program = _program(protocol, snapshot)
    hints = protocol.environment.sandbox
    pids = hints.pids if hints is not None else None
    notices = (
        *_place_notices(protocol, place),
        *_figure_notices(protocol, constants),
        *_custom_notices(protocol, project_id),
    )
    return Terms(
        program=program,
        hard_wall_seconds=min(float(protocol.execution.hard_timeout_seconds), _DAY),
        processes=min(pids, _MOST_PROCESSES) if pids is not None else None,
        notices=notices,
    )


def memory_advice(protocol: Protocol) -> str:
    """What a person is told when a run of theirs ended for want of memory, after ``safety.oomPolicy``."""
    return {
        "reduce_batch": "The protocol's advice for want of memory is a smaller batch: change it in the"
        " candidate and run again.",
        "fail": "By the protocol a run that wants too much memory has failed.",
    }.get(protocol.safety.oom_policy or "unknown", "Make the model or its batch smaller and run again.")


def _program(protocol: Protocol, snapshot: Mapping[str, bytes]) -> Run:
    meta, execution = protocol.meta, protocol.execution
    if meta.eligibility != "eligible":
        _refuse("meta.eligibility", f"'{meta.eligibility}': only eligible projects are judged")
    if meta.archetype != "ml_train":
        _refuse("meta.archetype", f"'{meta.archetype}': this build judges ml_train")
    if execution.cwd != ".":
        _refuse("execution.cwd", f"{one_line(execution.cwd, 60)!a}: programs run at the snapshot's top")
    if execution.stop_condition.type != "wall_clock":
        _refuse(
            "execution.stopCondition.type",
            f"'{execution.stop_condition.type}': the outside clock can bound wall_clock runs only",
        )
    metric = protocol.measurement.primary_metric
    if metric.direction != "minimize":
        _refuse("measurement.primaryMetric.direction", "'maximize': bits per byte are minimised")
    program = read_command(execution.command)
    if program.script != TRAIN or program.script not in snapshot:
        _refuse("execution.command", f"{program.script[:60]!a}: the program is {TRAIN} at the snapshot's top")
    return program


def _place_notices(protocol: Protocol, place: Place) -> Iterator[str]:
    environment = protocol.environment
    hints = environment.os_hints
    if hints and not any(word in hint.lower() for hint in hints for word in place.words):
        shown = ", ".join(one_line(hint, 40) for hint in hints[:4])
        yield (
            f"The project is meant for {shown}; this is {place.system} on {place.architecture}. Figures from "
            "here compare with controls from here only."
        )
    others = [name for name in environment.package_managers if name.strip().lower() not in _MANAGERS]
    if others:
        yield f"The package manager {one_line(others[0], 40)} is not known here; only uv and pip are."
    advice = environment.sandbox
    if advice is not None and (advice.image or advice.cpus):
        yield "The protocol's sandbox image and CPUs are advice; runs use this machine's own sandbox."
    wanted = _size(advice.memory) if advice is not None and advice.memory is not None else None
    if wanted is not None and 0 < place.memory_bytes < wanted:
        yield (
            f"The protocol advises {wanted >> 20} MiB of memory; this machine has {place.memory_bytes >> 20}."
        )


def _figure_notices(protocol: Protocol, constants: Constants) -> Iterator[str]:
    """Where the protocol and the benchmark's own constants differ, the constants decide."""
    budget = protocol.execution.stop_condition.training_seconds_budget
    if budget is not None and float(budget) != constants.budget_seconds:
        yield (
            f"The protocol states a budget of {budget:g} s, the snapshot's prepare.py "
            f"{constants.budget_seconds:g} s; the snapshot decides."
        )
    if protocol.execution.stop_condition.exclude_compilation_from_budget is False:
        yield (
            "The protocol bills compilation; whether the program does is its own affair. The deadline is the "
            "unmodified snapshot's own time, start-up included."
        )
    extension = protocol.archetype_extensions and protocol.archetype_extensions.ml_train
    tokens = extension.eval_tokens if extension else None
    if tokens is not None and tokens != constants.evaluation_tokens:
        yield (
            f"The protocol states {tokens} evaluation tokens, the snapshot's prepare.py "
            f"{constants.evaluation_tokens}; the snapshot decides."
        )
    if protocol.execution.hard_timeout_seconds <= constants.budget_seconds:
        yield "The protocol's hard timeout is not longer than the training budget: no run can end in time."


def _custom_notices(protocol: Protocol, project_id: int | None) -> Iterator[str]:
    determinism = protocol.execution.determinism
    if determinism is not None and determinism.seed_policy == "required":
        yield (
            "The protocol requires a fixed seed. Runs are compared by statistics all the same: equal seeds "
            "do not make equal runs."
        )
    log = redirected_log(protocol.agent_rules.log_redirect_example)
    if log is not None and log.rpartition("/")[2] != RUN_LOG:
        yield f"The protocol's example keeps its log as {one_line(log, 60)}; run folders call it {RUN_LOG}."
    left = unknown_columns(protocol)
    if left:
        yield f"The results log's column {one_line(left[0], 40)} is not known here and stays empty."
    yield from _loop_notices(protocol, project_id)
    if protocol.environment.constraints.network_allowlist is not None:
        yield "The network allow-list is checked against the lock; a set-up script is not held to it."
    try:
        read_setup(protocol)
    except SetupRefused as refusal:
        yield refusal.message


def _loop_notices(protocol: Protocol, project_id: int | None) -> Iterator[str]:
    """The loop of trials is the miner's own: one call of ours is one trial."""
    loop = protocol.mining_loop
    if loop is None:
        return
    limits = (
        (loop.max_trials, "trials"),
        (loop.max_session_wall_seconds, "seconds"),
        (loop.max_consecutive_non_improvements, "trials without improvement"),
    )
    ends = [f"{limit:g} {what}" for limit, what in limits if limit is not None]
    ends += ["the first accepted improvement"] if loop.stop_after_successful_pr else []
    if ends:
        yield f"The protocol ends a miner's loop of trials after {', or '.join(ends)}; this is one of them."
    on_chain = loop.on_chain_project_id
    if on_chain is not None and project_id is not None and on_chain != project_id:
        yield f"The protocol names project {on_chain} of the chain; this is project {project_id}."


def _size(text: str) -> int | None:
    """``16g``, ``16GiB`` or bytes; ``None`` for anything else."""
    match = _SIZE.fullmatch(text.strip().lower())
    return int(match.group(1)) * _UNITS[match.group(2)] or None if match else None


def _refuse(field: str, what: str) -> NoReturn:
    raise SetupRefused(
        f"The protocol's {field} is {what}.",
        meaning="The project cannot be judged by this build; that says nothing about any candidate.",
    )
