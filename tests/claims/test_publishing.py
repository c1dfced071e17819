"""A researcher's side: what is checked, what is there afterwards, and kills in between."""

from __future__ import annotations

import json
import subprocess
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from armlx_chain.chain.journal import State
from armlx_chain.claims.projectfiles import fill_template, read_baseline, read_data, read_snapshot
from armlx_chain.claims.publication import check_terms
from armlx_chain.claims.publish import TokenTerms
from armlx_chain.claims.runfolder import RunFacts, candidate_digest, write_run_json
from armlx_chain.devnet.benchmark.project import protocol_document
from armlx_chain.errors import ClaimRefused, FormatError, UsageError
from armlx_chain.formats.bundle import pack_tree, read_tree
from armlx_chain.formats.canonical import canonical_json, parse_canonical
from armlx_chain.formats.manifest import BenchmarkManifest
from armlx_chain.protocol.parse import parse_protocol
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import ProjectId, Root, ScaledScore, Tokens, Wei
from tests.faults.processes import Job, Launcher
from tests.faults.refusal import Refusal
from tests.faults.tinyworld import DATA, SNAPSHOT, Ran, TinyWorld, call, log_of

ROLES = {
    "train": "data/shard_00000.parquet",
    "validation": "data/shard_00001.parquet",
    "fresh": "data/shard_00002.parquet",
    "tokenizer": "tokenizer/*.pkl",
    "byte-table": "tokenizer/*.npy",
}
BASELINE = "9.125000"
DOCUMENTS = 4
"""Protocol, snapshot, benchmark manifest, baseline record."""
TEMPLATE = protocol_document(
    baseline_notes="${baseline} on ${hardware}, snapshot ${snapshot}", created_at="${created}"
)


class Study:
    """A researcher's folder: repository, data, protocol and a run that measured the baseline."""

    def __init__(self, folder: Path, name: str, *, files: int = len(DATA)) -> None:
        self.folder = folder
        self.name = name
        self.repo, self.cache, self.run = folder / "repo", folder / "cache", folder / "run"
        for path, data in {**SNAPSHOT, "run.sh": b"#!/bin/sh\n", "NAME": name.encode()}.items():
            _write(self.repo / path, data)
        (self.repo / "run.sh").chmod(0o755)
        for path, (data, _) in list(DATA.items())[:files]:
            _write(self.cache / path, data + name.encode())
        self.protocol = folder / "protocol.json"
        self.protocol.write_bytes(TEMPLATE)
        self.measure(BASELINE)

    @property
    def snapshot_root(self) -> Root:
        return root_of(pack_tree(read_snapshot(self.repo)))

    def measure(self, value: str, *, control: Root | None = None) -> None:
        """What reproduce leaves behind, by hand: the control is the snapshot."""
        log = log_of(value, "control")
        for name, data in (("run.log", log_of("8.0", "run")), ("control.log", log)):
            _write(self.run / name, data)
        write_run_json(
            self.run,
            RunFacts(
                chain_id=1,
                ledger="0x" + "11" * 20,
                project_id=ProjectId(0),
                protocol_root=root_of(b"protocol"),
                snapshot_root=control or self.snapshot_root,
                control_root=control or self.snapshot_root,
                current_best=ScaledScore(0),
                metric="val_bpb",
                value="8.0",
                control_value=value,
                hardware_class="cpu, tiny",
                environment_digest="sha256:" + "ab" * 32,
                run_log_sha256=sha256(log_of("8.0", "run")).hexdigest(),
                control_log_sha256=sha256(log).hexdigest(),
                candidate_sha256=candidate_digest({"train.py": b"x"}),
                outcome="unimproved",
                reason="no-improvement",
            ),
        )

    def arguments(self, world: TinyWorld, home: Path, *extra: object) -> list[str]:
        roles = [part for role, glob in ROLES.items() for part in ("--role", f"{role}={glob}")]
        given = ["publish", self.repo, "--protocol", self.protocol, "--data", self.cache, *roles,
                 "--baseline-run", self.run, "--name", f"Study {self.name}", "--symbol", self.name,
                 "--pool", 1_000_000, "--yes", "--json", *extra]  # fmt: skip
        return world.signed(given, home, "creator")

    def publish(self, world: TinyWorld, home: Path, *extra: object) -> Ran:
        return call(self.arguments(world, home, *extra))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


# --- checks, pure -------------------------------------------------------------------------------------


def terms(**changed: Any) -> TokenTerms:
    plain: dict[str, Any] = {"name": "N", "symbol": "S", "base_price": Wei(10**15), "slope": Wei(10**12)}
    return TokenTerms(**{**plain, "miner_pool_cap": Tokens(10**6), **changed})


@pytest.mark.unit
@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"miner_pool_cap": Tokens(10**24)}, "no decimals"),
        ({"miner_pool_cap": Tokens(10**15 + 1)}, "no decimals"),
        ({"miner_pool_cap": Tokens(0)}, "out of range"),
        ({"base_price": Wei(0)}, "at least 1 wei"),
        ({"slope": Wei(-1)}, "between 0"),
        ({"base_price": Wei(10**25)}, "between 0"),
        ({"name": ""}, "printable"),
        ({"name": " N"}, "printable"),
        ({"symbol": "A\x1b[2J"}, "printable"),
        ({"symbol": "X" * 17}, "printable"),
    ],
)
def test_terms_that_would_make_a_dead_or_misread_token(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_terms(terms(**changed))
    assert words in " ".join(refused.value.sentences())


@pytest.mark.unit
def test_terms_that_are_odd_but_possible_are_warned_of() -> None:
    assert check_terms(terms()) == []
    assert "odd" in check_terms(terms(slope=Wei(3)))[0]
    assert "never moves" in check_terms(terms(slope=Wei(0)))[0]


@pytest.mark.unit
def test_a_template_is_filled_inside_strings_and_nowhere_else() -> None:
    data = b'{"a": "${baseline} and ${baseline}", "b": ["${hardware}"], "c": 1}'
    filled = json.loads(fill_template(data, {"baseline": '9"', "hardware": "x"}))
    assert filled == {"a": '9" and 9"', "b": ["x"], "c": 1}
    assert fill_template(b'{"a":   "$x"}', {}) == b'{"a":   "$x"}', "without placeholders not a byte changes"
    with pytest.raises(FormatError, match="nobody knows"):
        fill_template(b'{"a": "${home}"}', {"baseline": "1"})


@pytest.mark.unit
def test_a_snapshot_of_a_folder_leaves_git_out_keeps_modes_and_refuses_links(tmp_path: Path) -> None:
    study = Study(tmp_path, "LINKS")
    _write(study.repo / ".git" / "config", b"secret")
    tree = read_snapshot(study.repo)
    assert ".git/config" not in tree
    assert tree["run.sh"] == (b"#!/bin/sh\n", True)
    assert tree["README.md"][1] is False
    (study.repo / "link").symlink_to("/etc/passwd")
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        read_snapshot(study.repo)


@pytest.mark.unit
def test_every_data_file_has_exactly_one_role(tmp_path: Path) -> None:
    study, roles = Study(tmp_path, "ROLES"), list(ROLES.items())
    manifest, data = read_data(study.cache, roles)
    assert {entry.path for entry in manifest.entries} == set(DATA) == set(data)
    assert [entry.role.value for entry in manifest.entries] == [
        DATA[e.path][1].value for e in manifest.entries
    ]
    for wrong in (roles[1:], [*roles, ("fresh", "data/*")]):
        with pytest.raises(UsageError, match="exactly one role"):
            read_data(study.cache, wrong)
    with pytest.raises(UsageError, match="no role"):
        read_data(study.cache, [("test", "data/*")])


@pytest.mark.unit
def test_a_baseline_is_that_of_this_very_snapshot(tmp_path: Path) -> None:
    study = Study(tmp_path, "BASE")
    protocol = parse_protocol(fill_template(TEMPLATE, _values()))
    found = read_baseline(study.run, protocol, study.snapshot_root)
    assert (found.value, found.text, found.hardware_class) == (Decimal(BASELINE), BASELINE, "cpu, tiny")
    assert parse_canonical(found.record)["snapshotRoot"] == str(study.snapshot_root)
    kept = study.folder / "kept"
    _write(kept / "baseline.json", found.record)
    assert read_baseline(kept, protocol, study.snapshot_root) == found
    for folder in (study.run, kept):
        with pytest.raises(ClaimRefused):
            read_baseline(folder, protocol, root_of(b"another"))
    (study.run / "control.log").write_bytes(log_of("1.0", "control"))
    with pytest.raises(ClaimRefused, match="changed since"):
        read_baseline(study.run, protocol, study.snapshot_root)
    with pytest.raises(UsageError, match="holds neither"):
        read_baseline(study.repo, protocol, study.snapshot_root)
    _write(kept / "baseline.json", canonical_json({**parse_canonical(found.record), "metricValue": "-1"}))
    with pytest.raises(Exception, match="plain decimal"):
        read_baseline(kept, protocol, study.snapshot_root)


def _values() -> dict[str, str]:
    return {"baseline": "1", "hardware": "h", "created": "2026-01-01T00:00:00Z", "snapshot": "s"}


# --- the whole way ------------------------------------------------------------------------------------


@pytest.mark.e2e
def test_published_and_read_back_by_a_stranger(world: TinyWorld, tmp_path: Path) -> None:
    study, home, number = Study(tmp_path, "WHOLE"), world.home(), world.registry.project_count()
    planned = study.publish(world, home, "--dry-run")
    assert planned.code == 0, planned.err
    assert (planned.document["baseline_score"], planned.document["pool"]) == (-9_125_000, 1_000_000)
    assert "greater is better" in planned.err
    assert world.registry.project_count() == number
    assert not (home / "publications").exists(), "a dry run leaves nothing"
    done = study.publish(world, home)
    assert done.code == 0, done.err
    document, project = done.document, world.registry.find_project(number)
    assert project is not None
    assert (document["project"], document["token"], document["verified"]) == (number, project.token, True)
    assert (project.baseline_score, project.creator) == (-9_125_000, world.address("creator"))
    token = world.token(number)
    assert (token.name(), token.symbol(), token.pool_cap()) == ("Study WHOLE", "WHOLE", 1_000_000)
    assert (token.base_price(), token.slope(), token.decimals()) == (10**15, 10**12, 0)
    _require_served(world, study, number)
    run_log = world.write_run(project_id=number)
    assert world.submit(run_log, world.home(), "--dry-run").code == 0, "and can be mined"
    again = study.publish(world, home)
    assert (again.code, again.error["details"]) == (3, {"project": number})
    assert world.registry.project_count() == number + 1


def _require_served(world: TinyWorld, study: Study, number: int) -> None:
    """Everything the record names can be fetched by root, and is what lies on the researcher's disk."""
    project, storage = world.registry.find_project(number), world.storage()
    assert project is not None

    def fetch(root: bytes) -> bytes:
        return storage.fetch(Root.zerog(root), max_bytes=1 << 20).data

    tree = {file.path: (file.data, file.executable) for file in read_tree(fetch(project.repo_snapshot_hash))}
    assert tree == read_snapshot(study.repo)
    for entry in BenchmarkManifest.parse(fetch(project.benchmark_hash)).entries:
        assert fetch(entry.root.digest) == (study.cache / entry.path).read_bytes()
    protocol = parse_protocol(fetch(project.protocol_hash))
    notes = protocol.measurement.baseline_policy.baseline_notes
    assert notes == f"{BASELINE} on cpu, tiny, snapshot {study.snapshot_root}"
    assert parse_canonical(fetch(project.baseline_metrics_hash))["metricValue"] == BASELINE


@pytest.mark.e2e
def test_a_git_revision_is_published_as_it_was_committed(world: TinyWorld, tmp_path: Path) -> None:
    study = Study(tmp_path, "GIT")

    def git(*arguments: str) -> None:
        name = ["-c", "user.name=t", "-c", "user.email=t@example", "-c", "init.defaultBranch=main"]
        subprocess.run(["git", *name, "-C", str(study.repo), *arguments], check=True, capture_output=True)

    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    root = study.snapshot_root
    (study.repo / "notes.txt").write_text("not tracked")
    (study.repo / "train.py").write_text("changed since\n")
    planned = study.publish(world, world.home(), "--git", "HEAD", "--dry-run")
    assert planned.code == 0, planned.err
    assert planned.document["snapshot_root"] == str(root)
    (study.repo / "link").symlink_to("README.md")
    git("add", "link")
    git("commit", "-m", "a link")
    refused = study.publish(world, world.home(), "--git", "HEAD", "--dry-run")
    assert (refused.code, refused.error["code"]) == (2, "UsageError")
    unknown = study.publish(world, world.home(), "--git", "no-such-revision")
    assert unknown.code == 2


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("spoil", "code", "error", "words"),
    [
        (lambda study: study.measure(BASELINE, control=root_of(b"other")), 3, "ClaimRefused", "unmodified"),
        (lambda study: study.measure("0.000000"), 3, "MetricError", "val_bpb"),
        (lambda study: study.protocol.write_bytes(b"{}"), 1, "ProtocolInvalid", "schemaKind"),
        (lambda study: (study.repo / "train.py").unlink(), 3, "ClaimRefused", "unmodified"),
        (lambda study: _write(study.cache / "stray", b"x"), 2, "UsageError", "exactly one role"),
        (lambda study: study.protocol.write_bytes(b'{"a": "${x}"}'), 1, "FormatError", "nobody"),
    ],
    ids=["other-snapshot", "zero-baseline", "no-protocol", "nothing-mutable", "stray-data", "placeholder"],
)  # fmt: skip
def test_what_cannot_be_published(
    world: TinyWorld, tmp_path: Path, spoil: Any, code: int, error: str, words: str
) -> None:
    study, refusal, number = (
        Study(tmp_path, "SPOILT"),
        Refusal(world, world.home()),
        world.registry.project_count(),
    )
    spoil(study)
    nonce = world.nonce("creator")
    ran = study.publish(world, refusal.home)
    assert ran.code == code, ran.err
    assert ran.error["code"] == error
    assert words in " ".join(filter(None, (ran.error["message"], ran.error["meaning"])))
    assert (world.nonce("creator"), world.registry.project_count()) == (nonce, number)


@pytest.mark.e2e
def test_a_pool_with_eighteen_decimals_is_refused_before_anything_is_sent(
    world: TinyWorld, tmp_path: Path
) -> None:
    study, nonce = Study(tmp_path, "CAP"), world.nonce("creator")
    given = study.arguments(world, world.home())
    given[given.index("--pool") + 1] = str(10**24)
    ran = call(given)
    assert (ran.code, ran.error["code"]) == (2, "UsageError")
    assert "no decimals" in ran.error["meaning"]
    assert world.nonce("creator") == nonce


@pytest.mark.e2e
@pytest.mark.parametrize("event", ["signed", "broadcast", "mined"])
def test_killed_at_every_journal_event_in_turn_it_is_published_once(
    world: TinyWorld, launcher: Launcher, tmp_path: Path, event: str
) -> None:
    study, home, uploads = Study(tmp_path, f"K{event[:4].upper()}", files=1), world.home(), DOCUMENTS + 1
    number, nonce = world.registry.project_count(), world.nonce("creator")
    arguments = study.arguments(world, home)
    for step in range(1, uploads + 2):
        (killed,) = launcher.run(Job(arguments, stop={"event": event, "number": 1}))
        assert killed.was_killed, (step, killed.text)
        assert world.registry.project_count() <= number + 1
    dry = study.publish(world, home, "--dry-run")
    assert (dry.code, dry.document["dry_run"]) == (0, True), "a dry run finishes nothing"
    (ended,) = launcher.run(Job(arguments))
    assert ended.code == 0, ended.text
    assert world.registry.project_count() == number + 1
    attempts = world.journal("creator", home)._all()
    assert [attempt.nonce for attempt in attempts] == list(range(nonce, nonce + uploads + 1))
    assert {attempt.state for attempt in attempts} == {State.MINED}
    _require_served(world, study, number)
