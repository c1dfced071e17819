"""Records of runs, the state of a session, the results log, and what many runs say together."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlx_chain.devnet.benchmark.project import protocol_document
from armlx_chain.errors import FormatError, MachineError, UsageError
from armlx_chain.formats.canonical import canonical_json, parse_canonical
from armlx_chain.protocol.model import Protocol
from armlx_chain.protocol.parse import parse_protocol
from armlx_chain.types import ScaledScore
from verifier.environments.columns import RowFacts, row
from verifier.measurements import measure, summary_of
from verifier.model import Audit, AuditKind, Ending, Noise, Outcome, Pair, Reason, Role, RunRecord, bpb
from verifier.records import check_log, pair_tree, read_pair, read_record, record_tree
from verifier.reproduction import deciding
from verifier.resultslog import append_row, results_path, status_word
from verifier.runstate import (
    INTERRUPTED,
    RUNNING,
    SessionFacts,
    SessionKeeper,
    locked,
    read_session,
    require_same,
)
from verifier.session import Progress
from verifier.verdict.case import Rules
from verifier.verdict.plain import without_runs

pytestmark = pytest.mark.unit

LOG = b"step 1\rstep 2\n---\nval_bpb:          0.900000\nnum_steps:        41\n"
FACTS = SessionFacts(
    kind="judgement", chain="31337", ledger="0x1", project="0", snapshot="0g:0x2", benchmark="0g:0x3",
    control="0g:0x4", candidate="ab", hardware_class="cpu", environment="cd", rule="r/1", seed="00ff",
)  # fmt: skip
PROTOCOL = parse_protocol(protocol_document(baseline_notes="none", created_at="2026-01-01T00:00:00Z"))


def run(role: Role, place: Path, score: str | None = "0.9", **changes: object) -> RunRecord:
    """A run with its log on disk."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "run.log").write_bytes(LOG)
    audits = (Audit(AuditKind.CAUSALITY, True, {"probes": "64"}), Audit(AuditKind.FRESH_GAP, True, {}))
    figure = None if score is None else bpb(score)
    record = RunRecord(
        role=role,
        ending=Ending.NO_GRAPH if score is None else Ending.GRAPH,
        detail="It ended.",
        log_path=place / "run.log",
        log_sha256=sha256(LOG).hexdigest(),
        wall_seconds=3.25,
        cpu_seconds=3.0625,
        peak_memory_bytes=1 << 29,
        clock="cpu",
        seconds_to_graph=None if score is None else 3.1,
        validation=figure,
        fresh=figure,
        audits=() if score is None else audits,
        printed_metric="0.900000",
        steps=41,
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def pair(place: Path, number: int, control: str = "1.0", candidate: str = "0.9") -> Pair:
    return Pair(
        run(Role.CONTROL, place / f"pair-{number:02d}-control", control),
        run(Role.CANDIDATE, place / f"pair-{number:02d}-candidate", candidate),
    )


def keep(keeper: SessionKeeper, made: Pair) -> None:
    for record in (made.control, made.candidate):
        keeper.keep(Progress("ended", 1, record.role, record))


# --- records ------------------------------------------------------------------------------------------


def test_a_record_reads_back_as_it_was(tmp_path: Path) -> None:
    made = pair(tmp_path, 1)
    data = parse_canonical(canonical_json(pair_tree(made)))
    assert read_pair(data, made.control.log_path, made.candidate.log_path) == made
    failed = run(Role.CANDIDATE, tmp_path / "x", None, graph_sha256="ab" * 32, disturbances=("it slept",))
    assert read_record(parse_canonical(canonical_json(record_tree(failed))), failed.log_path) == failed


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(["role", "ending", "audits", "validation", "wallSeconds", "logSha256"]),
                    st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2),
                    min_size=1)
)  # fmt: skip
def test_a_damaged_record_is_one_error(
    tmp_path_factory: pytest.TempPathFactory, wrong: dict[str, object]
) -> None:
    good = record_tree(run(Role.CONTROL, tmp_path_factory.getbasetemp() / "record"))
    try:
        read_record(good | wrong, Path("run.log"))
    except FormatError:
        return
    assert all(name in ("audits", "validation") for name in wrong), wrong


def test_a_log_that_changed_does_not_belong_to_its_record(tmp_path: Path) -> None:
    record = run(Role.CONTROL, tmp_path)
    check_log(record)
    record.log_path.write_bytes(LOG + b".")
    with pytest.raises(FormatError):
        check_log(record)


# --- the session's state ------------------------------------------------------------------------------


def test_only_whole_pairs_from_the_first_on_count(tmp_path: Path) -> None:
    keeper = SessionKeeper(tmp_path, FACTS, runs=0)
    for number in (1, 2, 4):
        keep(keeper, pair(keeper.place, number))
    half = pair(keeper.place, 3)
    keeper.keep(Progress("ended", 3, Role.CONTROL, half.control))
    assert len(keeper.pairs()) == 2, "the third pair is half"
    keeper.keep(Progress("ended", 3, Role.CANDIDATE, half.candidate))
    assert len(keeper.pairs()) == 4
    (keeper.place / "pair-02-candidate" / "run.log").write_bytes(b"other")
    assert len(keeper.pairs()) == 1, "a log that is not its record's ends the row"


def test_what_does_not_count_is_put_aside_and_never_lost(tmp_path: Path) -> None:
    keeper = SessionKeeper(tmp_path, FACTS, runs=0)
    keep(keeper, pair(keeper.place, 1))
    pair(keeper.place, 2)
    (keeper.place / "repeat-01-control").mkdir()
    assert keeper.put_aside(1) == ["pair-02-candidate", "pair-02-control", "repeat-01-control"]
    assert sorted(place.name for place in keeper.place.iterdir()) == ["pair-01-candidate", "pair-01-control"]
    assert (tmp_path / "unfinished" / "01" / "pair-02-control" / "run.log").read_bytes() == LOG
    assert keeper.put_aside(1) == []


def test_the_state_is_read_back_and_a_damaged_one_refused(tmp_path: Path) -> None:
    keeper = SessionKeeper(tmp_path, FACTS, runs=5)
    keep(keeper, pair(keeper.place, 1))
    keeper.mark(RUNNING)
    keeper.mark(INTERRUPTED, "stopped")
    state = read_session(tmp_path)
    assert (state.facts, state.state, state.runs, state.pairs, state.note) == (
        FACTS,
        INTERRUPTED,
        5,
        1,
        "stopped",
    )
    document = json.loads((tmp_path / "session.json").read_bytes())
    for name in ("state", "runs", "about"):
        (tmp_path / "session.json").write_bytes(canonical_json(document | {name: None}))
        with pytest.raises(FormatError):
            read_session(tmp_path)


def test_a_folder_without_a_session_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no session"):
        read_session(tmp_path)


@pytest.mark.parametrize("field", ["seed", "control", "candidate", "hardware_class", "environment", "rule"])
def test_a_session_does_not_go_on_with_anything_changed_and_names_it(field: str) -> None:
    require_same(FACTS, FACTS)
    with pytest.raises(UsageError, match="changed since") as refused:
        require_same(FACTS, replace(FACTS, **{field: "other"}))
    assert refused.value.details == {"changed": [field]}


def test_two_processes_do_not_work_in_one_folder(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(UsageError, match="at work"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


# --- the rule's share ---------------------------------------------------------------------------------


def test_pairs_measured_after_the_decision_are_not_shown_to_the_rule(tmp_path: Path) -> None:
    noise = Noise(s=bpb("0.01"), seed_spread=bpb("0.001"), runs=20, reference_seconds=(3.0, 3.0, 3.0))
    better = [pair(tmp_path, number) for number in range(1, 4)]
    worse = [pair(tmp_path, number, "1.0", "1.5") for number in range(4, 9)]
    assert deciding([*better, *worse], noise, Rules()) == 3
    assert deciding(better[:2], noise, Rules()) == 2
    assert deciding([], noise, Rules()) == 0


def test_the_table_of_many_runs_says_mean_spread_and_gain(tmp_path: Path) -> None:
    pairs = [
        pair(tmp_path, 1, "1.00", "0.90"),
        pair(tmp_path, 2, "1.02", "0.90"),
        pair(tmp_path, 3, "1.04", "0.90"),
    ]
    verdict = replace(without_runs(Reason.VERIFIER_FAULT, "-"), pairs=tuple(pairs[:2]))
    found = measure(PROTOCOL, ScaledScore(-1_000_000), verdict, pairs[2:])
    assert found.gain is not None
    assert found.control is not None
    assert (found.gain.count, found.gain.mean, found.gain.spread) == (3, bpb("0.12"), bpb("0.02"))
    assert found.gain.error == bpb(Decimal("0.02") / Decimal(3).sqrt())
    assert (found.control.least, found.control.greatest) == (bpb("1.00"), bpb("1.04"))
    assert found.secondary == {"num_steps": Decimal("41.000")}
    assert parse_canonical(canonical_json(found.tree()))["gain"]["count"] == 3
    assert summary_of([]) is None


def test_disturbed_and_voided_pairs_are_left_out_of_the_table(tmp_path: Path) -> None:
    pairs = [pair(tmp_path, number) for number in (1, 2, 3)]
    slept = replace(pairs[2], control=replace(pairs[2].control, disturbances=("it slept",)))
    verdict = replace(without_runs(Reason.VERIFIER_FAULT, "-"), pairs=tuple(pairs[:2]), voided=(0,))
    found = measure(PROTOCOL, ScaledScore(-1), verdict, [slept])
    assert found.gain is not None
    assert found.gain.count == 1
    assert [entry.counted for entry in found.runs] == [False, False, True, True, False, False]


# --- the results log ----------------------------------------------------------------------------------


def a_row(description: str = "wider") -> dict[str, str]:
    return row(PROTOCOL, RowFacts("ab" * 32, "0.900000", 1 << 30, "keep", description))


def with_log(**changes: object) -> Protocol:
    document = json.loads(protocol_document(baseline_notes="none", created_at="2026-01-01T00:00:00Z"))
    document["provenance"]["resultsLog"] |= changes
    return parse_protocol(json.dumps(document).encode())


def test_a_new_results_log_gets_its_header_and_every_row_stays(tmp_path: Path) -> None:
    path = results_path(PROTOCOL, tmp_path)
    for words in ("wider", "tab\there\nand there"):
        append_row(path, PROTOCOL, a_row(words))
    lines = path.read_text().splitlines()
    assert lines[0] == "commit\tval_bpb\tstatus\tdescription"
    assert lines[1] == "abababa\t0.900000\tkeep\twider"
    assert len(lines) == 3
    assert lines[2].count("\t") == 3


def test_a_row_after_a_cut_off_one_starts_on_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "results.tsv"
    path.write_text("commit\tval_bpb\tstatus\tdescription\nabc\t0.9")
    append_row(path, PROTOCOL, a_row())
    assert path.read_text().splitlines()[1:] == ["abc\t0.9", "abababa\t0.900000\tkeep\twider"]


def test_a_file_with_other_columns_or_behind_a_link_is_not_touched(tmp_path: Path) -> None:
    other = tmp_path / "results.tsv"
    other.write_text("date\tscore\n")
    with pytest.raises(FormatError, match="other columns"):
        append_row(other, PROTOCOL, a_row())
    assert other.read_text() == "date\tscore\n"
    (tmp_path / "link.tsv").symlink_to(other)
    with pytest.raises(MachineError):
        append_row(tmp_path / "link.tsv", PROTOCOL, a_row())


def test_a_strangers_path_never_leaves_the_folder(tmp_path: Path) -> None:
    assert results_path(with_log(path="a/b/mine.tsv"), tmp_path) == tmp_path / "mine.tsv"


@pytest.mark.parametrize(
    ("kind", "first"), [("csv", "commit,val_bpb,status,description"), ("jsonl", '{"commit": "abababa", ')]
)
def test_the_other_forms_of_a_results_log(tmp_path: Path, kind: str, first: str) -> None:
    protocol = with_log(format=kind, path=f"results.{kind}")
    path = results_path(protocol, tmp_path)
    append_row(path, protocol, a_row())
    append_row(path, protocol, a_row())
    lines = path.read_text().splitlines()
    assert lines[0].startswith(first)
    assert len(lines) == (2 if kind == "jsonl" else 3)


def _append(path: Path, count: int) -> None:
    for _ in range(count):
        append_row(path, PROTOCOL, a_row())


def test_rows_of_several_processes_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "results.tsv"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_append, args=(path, 10)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    lines = path.read_text().splitlines()
    assert lines[0].startswith("commit\t")
    assert lines[1:] == ["abababa\t0.900000\tkeep\twider"] * 40


@pytest.mark.parametrize(
    ("outcome", "reason", "word"),
    [
        (Outcome.REPRODUCED, Reason.IMPROVEMENT_CONFIRMED, "keep"),
        (Outcome.UNIMPROVED, Reason.NO_IMPROVEMENT, "discard"),
        (Outcome.REFUTED, Reason.CAUSALITY_VIOLATED, "discard"),
        (Outcome.UNDECIDED, Reason.TOO_NOISY, "undecided"),
    ],
)
def test_the_status_follows_the_verdict(outcome: Outcome, reason: Reason, word: str) -> None:
    verdict = replace(without_runs(Reason.VERIFIER_FAULT, "-"), outcome=outcome, reason=reason)
    assert status_word(PROTOCOL, verdict) == word


@pytest.mark.parametrize(("stated", "word"), [("discard", "discard"), ("crash", "crash"), (None, "crash")])
def test_a_run_without_a_model_is_what_the_protocol_calls_a_crash(stated: str | None, word: str) -> None:
    document = json.loads(protocol_document(baseline_notes="none", created_at="2026-01-01T00:00:00Z"))
    document["safety"] = {"oomPolicy": "fail"} | ({"crashStatus": stated} if stated else {})
    verdict = replace(
        without_runs(Reason.VERIFIER_FAULT, "-"), outcome=Outcome.UNIMPROVED, reason=Reason.RUN_WITHOUT_MODEL
    )
    assert status_word(parse_protocol(json.dumps(document).encode()), verdict) == word
