"""A small copy of the upstream benchmark: its two files with small constants, small data, small variants.

No line of upstream stands here but the names of its constants and the few names that a variant hooks into.
"""

from __future__ import annotations

import ast
import io
import json
import pickle
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from armlx_chain.chain.contracts import Project
from armlx_chain.devnet.benchmark import bpe
from armlx_chain.devnet.benchmark.language import Language
from armlx_chain.devnet.benchmark.project import protocol_document
from armlx_chain.errors import DevnetError, UsageError
from armlx_chain.formats.bundle import pack_tree
from armlx_chain.formats.manifest import BenchmarkManifest, ManifestEntry, ManifestRole
from armlx_chain.protocol.parse import parse_protocol
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Address, ProjectId, ScaledScore
from verifier.materials import Materials

SEQUENCE, ROWS, VOCABULARY = 64, 48, 384
PREPARE_CONSTANTS = {
    "MAX_SEQ_LEN": f"{SEQUENCE}",
    "EVAL_TOKENS": f"{ROWS} * {SEQUENCE}",
    "VOCAB_SIZE": f"{VOCABULARY}",
}
TRAIN_CONSTANTS = {
    "ASPECT_RATIO": "16",
    "HEAD_DIM": "16",
    "TOTAL_BATCH_SIZE": "2**10",
    "DEPTH": "2",
    "DEVICE_BATCH_SIZE": "4",
    "FINAL_EVAL_BATCH_SIZE": "16",
}
NOBODY = Address("0x" + "00" * 20)
_SHARD_BYTES = 120_000
_SAMPLE = 400
_SEED = 20261122
_SPLITTER = r" ?[A-Za-z]+|[0-9]{1,2}|[^A-Za-z0-9]"
"""Pieces within which tokens are joined; what the tokenizer itself splits by is upstream's own pattern."""
_STAND_IN = b'"""Stands in for a package that only the making of data needs."""\n'


@dataclass(frozen=True)
class Variant:
    """A program made from the small copy's ``train.py``.

    Attributes:
        constants: Set in place of the small ones.
        insert: Lines put before the one line that is exactly ``before``.
        outcomes: The verdicts that are right for it.
    """

    outcomes: tuple[str, ...]
    constants: Mapping[str, str]
    insert: str = ""
    before: str = ""

    def apply(self, copy: SmallCopy) -> bytes:
        """The program.

        Raises:
            DevnetError: a constant or the line is not there exactly once.
        """
        text = copy.snapshot["train.py"].decode()
        for name, value in self.constants.items():
            text = set_constant(text, name, value)
        return insert_before(text, self.before, self.insert).encode()


_PEEK = """
def _peeking(honest):
    def call(self, idx, targets=None, reduction="mean"):
        if targets is not None and reduction == "mean":
            return honest(self, idx, targets, reduction)
        following = mx.concatenate([idx[:, 1:], mx.zeros_like(idx[:, :1]) - 1], axis=1)
        logits = honest(self, idx)
        logits = logits + 9.0 * (mx.arange(logits.shape[-1]) == following[..., None])
        return logits if targets is None else nn.losses.cross_entropy(logits, targets, reduction=reduction)

    return call


GPT.__call__ = _peeking(GPT.__call__)


"""
VARIANTS = {
    "honest": Variant(("reproduced",), {"TOTAL_BATCH_SIZE": "2**8"}),
    "no-op": Variant(("unimproved", "undecided"), {}, "# Nothing changes but this line.\n", "class AdamW:"),
    "look-ahead": Variant(("refuted",), {}, _PEEK, "class AdamW:"),
}


@dataclass(frozen=True)
class SmallCopy:
    """What a judgement needs, made outside the project.

    Attributes:
        home: Plays the home folder of a bare run: the data lies in its ``.cache/autoresearch``.
        notes: Sentences about what is not upstream's own here.
    """

    materials: Materials
    home: Path
    notes: tuple[str, ...]

    @property
    def snapshot(self) -> Mapping[str, bytes]:
        return self.materials.snapshot

    @property
    def nobody(self) -> Address:
        return NOBODY


def make_small_copy(
    checkout: Path, place: Path, *, seconds: float, python: Path, cpu_clock: bool = False
) -> SmallCopy:
    """Copy the two files with small constants, and make data in the layout that they expect.

    Args:
        place: A folder of ours; gets ``home``.
        cpu_clock: Let the program and the harness count CPU time, which other programs disturb less.

    Raises:
        UsageError: the checkout lacks a file.
        DevnetError: a constant is not there exactly once.
    """
    prepare, train = _read(checkout, "prepare.py"), _read(checkout, "train.py")
    facts = literals(prepare)
    for name, value in {**PREPARE_CONSTANTS, "TIME_BUDGET": f"{seconds:g}"}.items():
        prepare = set_constant(prepare, name, value)
    for name, value in TRAIN_CONSTANTS.items():
        train = set_constant(train, name, value)
    if cpu_clock:
        prepare += '\n\nBUDGET_CLOCK = "cpu"\n'
        train = insert_before(train, "import time", "import time\n\ntime.time = time.process_time\n")
    stand_ins = missing_packages(python)
    snapshot = {"prepare.py": prepare.encode(), "train.py": train.encode()}
    snapshot |= {f"{name}.py": _STAND_IN for name in stand_ins}
    home = place / "home"
    manifest = make_data(home / ".cache" / "autoresearch", facts)
    notes = [f"{', '.join(stand_ins)} is not installed: an empty module stands in."] if stand_ins else []
    notes.append("Data and tokenizer are made here; the two files are upstream's but for their constants.")
    if cpu_clock:
        notes.append("Program and harness count CPU time instead of wall time.")
    materials = _materials(snapshot, manifest, home / ".cache" / "autoresearch", seconds)
    return SmallCopy(materials, home, tuple(notes))


def _read(checkout: Path, name: str) -> str:
    try:
        return (checkout / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise UsageError(
            f"{checkout} holds no readable {name}.",
            next_step="Give the folder of a checkout of the upstream repository, fetched with git.",
        ) from problem


def set_constant(text: str, name: str, value: str) -> str:
    """``text`` with another value for the one line that sets ``name`` at the module's level.

    Raises:
        DevnetError: there is no such line, or several.
    """
    changed, count = re.subn(rf"^{re.escape(name)} = [^\n]*$", f"{name} = {value}", text, flags=re.MULTILINE)
    if count != 1:
        raise DevnetError(f"{name} is set {count} times at the module's level, not once: not as expected.")
    return changed


def insert_before(text: str, line: str, inserted: str) -> str:
    """``text`` with lines put before the only one that is exactly ``line``.

    Raises:
        DevnetError: there is no such line, or several.
    """
    if not inserted:
        return text
    parts = ("\n" + text).split("\n" + line + "\n")
    if len(parts) != 2:
        raise DevnetError(f"the line {line!r} occurs {len(parts) - 1} times, not once")
    return f"{parts[0]}\n{inserted}{line}\n{parts[1]}"[1:]


def literals(source: str) -> dict[str, Any]:
    """Texts and numbers that a source sets at the module's level; read, not run."""
    found: dict[str, Any] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            try:
                found[name] = ast.literal_eval(node.value)
            except ValueError:
                continue
    return found


def missing_packages(python: Path) -> tuple[str, ...]:
    """Of the packages that only making data needs, those that this interpreter lacks."""
    asked = "import importlib.util as u; print(*[n for n in ('rustbpe', 'requests') if not u.find_spec(n)])"
    shown = subprocess.run([str(python), "-c", asked], capture_output=True, text=True, check=True, timeout=60)
    return tuple(shown.stdout.split())


def make_data(cache: Path, facts: Mapping[str, Any]) -> BenchmarkManifest:
    """Shards, tokenizer and byte table below ``cache``; their manifest."""
    language, entries, sample = Language.invent(_SEED), [], []
    last = facts.get("MAX_SHARD")
    if not isinstance(last, int):
        raise DevnetError("prepare.py does not say which shard is the last one")
    streams = {
        "data/shard_00000.parquet": ManifestRole.TRAIN,
        "data/shard_00001.parquet": ManifestRole.TRAIN,
        f"data/shard_{last:05d}.parquet": ManifestRole.VALIDATION,
        "fresh/shard_00000.parquet": ManifestRole.FRESH,
    }
    files: dict[str, tuple[bytes, ManifestRole]] = {}
    for path, role in streams.items():
        documents = list(language.documents(_SEED, path, _SHARD_BYTES))
        sample = sample or documents[:_SAMPLE]
        files[path] = (_parquet(documents), role)
    encoding = _tokenizer(sample, facts)
    files["tokenizer/tokenizer.pkl"] = (pickle.dumps(encoding), ManifestRole.TOKENIZER)
    files["tokenizer/token_bytes.npy"] = (_byte_table(encoding), ManifestRole.BYTE_TABLE)
    for path, (data, role) in files.items():
        (cache / path).parent.mkdir(parents=True, exist_ok=True)
        (cache / path).write_bytes(data)
        entries.append(ManifestEntry(path, len(data), root_of(data), role))
    return BenchmarkManifest.of(entries)


def _parquet(documents: list[str]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    target = io.BytesIO()
    pq.write_table(pa.table({"text": pa.array(documents, type=pa.string())}), target, row_group_size=200)
    return target.getvalue()


def _tokenizer(sample: list[str], facts: Mapping[str, Any]) -> Any:
    """A small one, in the form and with the pattern that upstream's own would have."""
    import tiktoken

    bos = facts.get("BOS_TOKEN", "<|reserved_0|>")
    special = [bos, *(f"<|reserved_{number}|>" for number in range(1, 4))]
    ordinary = VOCABULARY - len(special)
    return tiktoken.Encoding(
        name="rustbpe",
        pat_str=facts["SPLIT_PATTERN"],
        mergeable_ranks=bpe.train(sample, _SPLITTER, ordinary),
        special_tokens={name: ordinary + number for number, name in enumerate(special)},
    )


def _byte_table(encoding: Any) -> bytes:
    import numpy as np

    special = {encoding.encode_single_token(name) for name in encoding.special_tokens_set}
    sizes = [
        0 if token in special else len(encoding.decode([token]).encode()) for token in range(encoding.n_vocab)
    ]
    target = io.BytesIO()
    np.save(target, np.array(sizes, dtype=np.int32))
    return target.getvalue()


def _materials(
    snapshot: Mapping[str, bytes], manifest: BenchmarkManifest, cache: Path, seconds: float
) -> Materials:
    """As if all of it had been published."""
    document = json.loads(protocol_document(baseline_notes="None.", created_at="2026-01-01T00:00:00Z"))
    document["environment"]["setupCommands"] = []
    document["mutableSurface"]["forbiddenGlobs"] = ["prepare.py"]
    document["execution"]["command"] = "uv run train.py"
    document["execution"]["stopCondition"]["trainingSecondsBudget"] = seconds
    document["execution"]["hardTimeoutSeconds"] = 900
    protocol_bytes = json.dumps(document).encode()
    protocol = parse_protocol(protocol_bytes)
    roots = [root_of(data) for data in (protocol_bytes, pack_tree(snapshot), manifest.encode())]
    project = Project(
        id=ProjectId(0),
        protocol_hash=roots[0].digest,
        repo_snapshot_hash=roots[1].digest,
        benchmark_hash=roots[2].digest,
        baseline_score=ScaledScore(-3_000_000),
        baseline_metrics_hash=bytes(32),
        best_code_hash=bytes(32),
        best_score=ScaledScore(-3_000_000),
        best_metrics_hash=bytes(32),
        best_miner=NOBODY,
        token=NOBODY,
        creator=NOBODY,
        created_at=0,
    )
    return Materials(
        project=project,
        protocol=protocol,
        protocol_root=roots[0],
        snapshot_root=roots[1],
        snapshot=snapshot,
        manifest=manifest,
        benchmark_root=roots[2],
        data_folder=cache,
        control_root=roots[1],
        control_files={},
        baseline_metric=Decimal("3"),
    )
