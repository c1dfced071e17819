"""The model of ``protocol.json``, schema 1.0 and 1.1.

Invariants of a ``Protocol`` that exists:

- every object knows all its keys, but for the three archetype extensions, which may hold more;
- every path and glob is relative and cannot escape; no text but the golden output holds control characters;
- allowed and forbidden globs share no path;
- an eligible document with a regular expression has one that the linear-time engine accepts and that finds
  exactly one value in the golden output.

Build one with ``armlx_chain.protocol.parse.parse_protocol``; the classes here say what the fields mean.

Annotations are evaluated as they stand, without the import from ``__future__``: pydantic would compile each
from its text, which is a fifth of the time that a command needs to show a protocol.
"""

import re
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic.alias_generators import to_camel

from armlx_chain.protocol.globs import Glob, overlap, overlap_cost
from armlx_chain.protocol.text import check_glob, check_line, check_prose, check_relative_path

Direction = Literal["minimize", "maximize"]
NetworkPolicy = Literal["sandbox", "full", "offline", "unknown"]

_OVERLAP_BUDGET = 2_000_000
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_CLONE_URL = re.compile(r"(https|http|git|ssh)://[!-~]+")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})(?::[0-9]{1,5})?")


def _timestamp(text: str) -> str:
    if not _RFC3339.fullmatch(text):
        raise ValueError("it is not an RFC 3339 date and time")
    datetime.fromisoformat(text.upper().replace("Z", "+00:00"))
    return text


def _clone_url(text: str) -> str:
    if not _CLONE_URL.fullmatch(text):
        raise ValueError("it is not an https, http, git or ssh URL")
    return text


def _host(text: str) -> str:
    if not _HOST.fullmatch(text) or int((text.partition(":")[2]) or 0) > 65_535:
        raise ValueError("it is not a host or host:port")
    return text


Prose = Annotated[str, AfterValidator(check_prose)]
Line = Annotated[str, AfterValidator(check_line)]
RelativePath = Annotated[str, AfterValidator(check_relative_path)]
GlobText = Annotated[str, AfterValidator(check_glob)]
Timestamp = Annotated[str, AfterValidator(_timestamp)]
CloneUrl = Annotated[str, AfterValidator(_clone_url)]
Host = Annotated[str, AfterValidator(_host)]
Seconds = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    """An object that refuses keys it does not know and never changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=to_camel)

    since_1_1: ClassVar[frozenset[str]] = frozenset()
    """Keys that only version 1.1 knows."""


class Repo(_Part):
    owner: Line | None = None
    name: Line | None = None
    default_branch: Line | None = None
    clone_url: CloneUrl | None = None


class Meta(_Part):
    archetype: Literal[
        "ml_train",
        "rl_loop",
        "benchmark_opt",
        "build_test",
        "solver_compete",
        "pipeline_job",
        "inference_serving",
        "unknown",
    ]
    eligibility: Literal["eligible", "needs_harness", "ineligible"]
    purpose_statement: Prose
    repo: Repo | None = None
    created_at: Timestamp | None = None
    updated_at: Timestamp | None = None
    protocol_bundle_id: Line | None = None


class SetupStep(_Part):
    """A set-up command in the form of version 1.1: a known tool and its arguments."""

    kind: Literal["pip", "uv", "npm", "pnpm", "yarn", "cargo", "make", "bash", "sh"]
    args: tuple[Prose, ...]


class Constraints(_Part):
    since_1_1: ClassVar[frozenset[str]] = frozenset({"networkAllowlist"})

    no_new_dependencies: bool | None = None
    network_policy: NetworkPolicy | None = None
    network_allowlist: tuple[Host, ...] | None = None

    @property
    def allows_network(self) -> bool:
        """Only ``full`` means network; an unknown or missing policy fails closed."""
        return self.network_policy == "full"


class SandboxHints(_Part):
    """Advisory: the verifier sets its own limits."""

    image: Line | None = None
    cpus: Line | None = None
    memory: Line | None = None
    pids: Annotated[int, Field(ge=1)] | None = None


def _setup_kind(value: Any) -> str:
    return "shell" if isinstance(value, str) else "step"


SetupCommand = Annotated[
    Annotated[Prose, Tag("shell")] | Annotated[SetupStep, Tag("step")], Discriminator(_setup_kind)
]


class Environment(_Part):
    since_1_1: ClassVar[frozenset[str]] = frozenset({"sandbox"})

    setup_commands: tuple[SetupCommand, ...]
    constraints: Constraints
    os_hints: tuple[Prose, ...] = ()
    package_managers: tuple[Prose, ...] = ()
    asset_prep: tuple[Prose, ...] = ()
    sandbox: SandboxHints | None = None


class MutableSurface(_Part):
    """What a candidate may replace."""

    allowed_globs: Annotated[tuple[GlobText, ...], Field(min_length=1)]
    forbidden_globs: tuple[GlobText, ...]
    allowed_kinds: Annotated[tuple[Literal["code_edit", "config_edit"], ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        budget = _OVERLAP_BUDGET
        allowed = [Glob.parse(text) for text in self.allowed_globs]
        forbidden = [Glob.parse(text) for text in self.forbidden_globs]
        for one in allowed:
            for other in forbidden:
                budget -= overlap_cost(one, other)
                if budget < 0:
                    raise ValueError("the globs are too many and too long to be checked for overlap")
                if overlap(one, other):
                    raise ValueError(f"allowed {one.text!a} and forbidden {other.text!a} overlap")
        return self


class ImmutableHarness(_Part):
    paths: tuple[GlobText, ...]
    rationale: Prose


class StopCondition(_Part):
    type: Literal["wall_clock", "max_steps", "epochs", "until_metric", "fixed_suite"]
    training_seconds_budget: Annotated[Seconds, Field(ge=0)] | None = None
    exclude_compilation_from_budget: bool | None = None
    max_steps: Annotated[int, Field(ge=1)] | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None
    notes: Prose | None = None


class Determinism(_Part):
    seed_policy: Literal["optional", "required"] | None = None
    notes: Prose | None = None


class Execution(_Part):
    command: Line
    cwd: RelativePath
    stop_condition: StopCondition
    hard_timeout_seconds: Annotated[Seconds, Field(ge=1)]
    determinism: Determinism | None = None


class Extract(_Part):
    """How a value is read from a log. Only ``regex`` can be executed by this project."""

    kind: Literal["regex", "json_pointer", "junit", "pytest_summary", "custom"]
    pattern: Line | None = None
    json_pointer: Line | None = None
    example_stdout: str | None = None
    """A golden snippet, the only text that may hold control characters: escape it wherever it is shown."""
    notes: Prose | None = None


class PrimaryMetric(_Part):
    name: Line
    direction: Direction
    extract: Extract


class SecondaryMetric(_Part):
    name: Line
    direction: Direction
    extract: Extract | None = None


class BaselinePolicy(_Part):
    establish_on_hardware: bool
    same_data_snapshot: bool
    baseline_notes: Prose | None = None


class Measurement(_Part):
    primary_metric: PrimaryMetric
    baseline_policy: BaselinePolicy
    secondary_metrics: tuple[SecondaryMetric, ...] = ()


class ResultsLog(_Part):
    format: Literal["tsv", "csv", "jsonl"]
    path: RelativePath
    columns: Annotated[tuple[Line, ...], Field(min_length=1)]


class GitWorkflow(_Part):
    branch_pattern: Prose | None = None
    commit_scope: Prose | None = None
    path_prefix: GlobText | None = None
    staging_example: Prose | None = None


class Provenance(_Part):
    results_log: ResultsLog
    git_workflow: GitWorkflow | None = None
    baseline_artifact_path: RelativePath | None = None


class Safety(_Part):
    oom_policy: Literal["reduce_batch", "fail", "unknown"] | None = None
    crash_status: Literal["crash", "discard", "retry"] | None = None


class Autonomy(_Part):
    no_ask_human_to_continue: bool | None = None


class AgentRules(_Part):
    simplicity_criterion: bool | None = None
    autonomy: Autonomy | None = None
    experiment_timeout_notes: Prose | None = None
    log_redirect_example: Prose | None = None


class _OpenPart(_Part):
    """An object whose further keys are kept as they are (in ``model_extra``)."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, alias_generator=to_camel)


class MlTrain(_OpenPart):
    data_snapshot: Prose | None = None
    eval_tokens: int | None = None
    hardware_notes: Prose | None = None


class BuildTest(_OpenPart):
    test_command: Prose | None = None
    test_subset: Prose | None = None
    flake_policy: Prose | None = None


class RlLoop(_OpenPart):
    env_id: Prose | None = None
    episode_horizon: int | None = None
    num_seeds: Annotated[int, Field(ge=1)] | None = None


class ArchetypeExtensions(_Part):
    # The schema writes these three with underscores.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=None)

    ml_train: MlTrain | None = None
    build_test: BuildTest | None = None
    rl_loop: RlLoop | None = None


class MiningLoop(_Part):
    max_trials: Annotated[int, Field(ge=1)] | None = None
    max_session_wall_seconds: Annotated[Seconds, Field(ge=1)] | None = None
    max_consecutive_non_improvements: Annotated[int, Field(ge=1)] | None = None
    stop_after_successful_pr: bool | None = None
    on_chain_project_id: Annotated[int, Field(ge=0)] | None = None


class Protocol(_Part):
    """A whole, valid protocol document."""

    schema_kind: Literal["protocol"]
    protocol_version: Literal["1.0", "1.1"]
    meta: Meta
    environment: Environment
    mutable_surface: MutableSurface
    immutable_harness: ImmutableHarness
    execution: Execution
    measurement: Measurement
    provenance: Provenance
    safety: Safety
    agent_rules: AgentRules
    archetype_extensions: ArchetypeExtensions | None = None
    mining_loop: MiningLoop | None = None

    def may_change(self, path: str) -> bool:
        """Whether a candidate may replace the file at this relative path.

        It must match an allowed glob exactly, and neither it nor a folder it lies in may be forbidden or
        belong to the immutable harness (both without regard to case).
        """
        surface = self.mutable_surface
        if not any(Glob.parse(text).matches(path) for text in surface.allowed_globs):
            return False
        barred = (*surface.forbidden_globs, *self.immutable_harness.paths)
        return not any(Glob.parse(text).covers(path) for text in barred)
