"""The repository snapshot of the demonstration's project and its protocol document."""

from __future__ import annotations

import ast
import json
from functools import cache
from importlib import resources
from typing import Any, Final

from armlx_chain.errors import DevnetError

FILES: Final = (".gitignore", "README.md", "prepare.py", "program.md", "pyproject.toml", "train.py")
"""The snapshot, by name: a stray file beside them never becomes part of it."""


def snapshot_files() -> dict[str, bytes]:
    """All files of the snapshot, by path."""
    folder = resources.files("armlx_chain.devnet.benchmark") / "files"
    return {name: (folder / name).read_bytes() for name in FILES}


@cache
def constants() -> dict[str, Any]:
    """The literal constants of ``prepare.py``, read without running it.

    Raises:
        DevnetError: if the installed ``prepare.py`` does not parse.
    """
    try:
        tree = ast.parse(snapshot_files()["prepare.py"])
    except SyntaxError as error:
        raise DevnetError(f"the installed prepare.py does not parse: {error}") from error
    found: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue  # an expression, such as a path below HOME
    return found


def protocol_document(*, baseline_notes: str, created_at: str, owner: str = "armlx-devnet") -> bytes:
    """The project's ``protocol.json``.

    Args:
        baseline_notes: Where and how the baseline was measured, and what it is.
        created_at: Time of publication, RFC 3339.
        owner: Owner of the repository, as the document names it.
    """
    facts = constants()
    document = {
        "schemaKind": "protocol",
        "protocolVersion": "1.0",
        "meta": {
            "archetype": "ml_train",
            "eligibility": "eligible",
            "purposeStatement": "Minimize validation bits per byte of a small language model that is trained "
            f"on MLX for {facts['TIME_BUDGET']} CPU seconds.",
            "repo": {"owner": owner, "name": "small-text-benchmark", "defaultBranch": "main"},
            "createdAt": created_at,
            "updatedAt": created_at,
        },
        "environment": {
            "osHints": ["linux", "darwin-arm64"],
            "setupCommands": ["python prepare.py"],
            "assetPrep": ["Shards, tokenizer and byte table of the bundle go to ~/.cache/autoresearch."],
            "constraints": {"noNewDependencies": True, "networkPolicy": "offline"},
        },
        "mutableSurface": {
            "allowedGlobs": ["train.py"],
            "forbiddenGlobs": [name for name in FILES if name != "train.py"],
            "allowedKinds": ["code_edit"],
        },
        "immutableHarness": {
            "paths": ["prepare.py"],
            "rationale": "prepare.py fixes constants, tokenizer, data loader and metric; with another one no "
            "two results could be compared.",
        },
        "execution": _execution(facts),
        "measurement": {
            "primaryMetric": _metric("val_bpb", "minimize", r"[0-9]+(?:\.[0-9]+)?"),
            "secondaryMetrics": [_metric("num_steps", "maximize", "[0-9]+")],
            "baselinePolicy": {
                "establishOnHardware": True,
                "sameDataSnapshot": True,
                "baselineNotes": baseline_notes,
            },
        },
        "provenance": {
            "resultsLog": {
                "format": "tsv",
                "path": "results.tsv",
                "columns": ["commit", "val_bpb", "status", "description"],
            },
        },
        "safety": {"oomPolicy": "fail", "crashStatus": "discard"},
        "agentRules": {
            "simplicityCriterion": True,
            "experimentTimeoutNotes": "A run that takes longer than a quarter of an hour has failed.",
            "logRedirectExample": "python train.py > run.log 2>&1",
        },
        "archetypeExtensions": {
            "ml_train": {
                "dataSnapshot": "Generated text in an invented language, listed in the benchmark manifest.",
                "evalTokens": facts["EVAL_TOKENS"],
                "hardwareNotes": "Compare only with a baseline run on the same machine.",
            }
        },
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def _execution(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "command": "python train.py",
        "cwd": ".",
        "stopCondition": {
            "type": "wall_clock",
            "trainingSecondsBudget": facts["TIME_BUDGET"],
            "excludeCompilationFromBudget": True,
            "notes": "Seconds of training on the clock that prepare.py names as BUDGET_CLOCK "
            f"({facts['BUDGET_CLOCK']}); start-up and the final evaluation are outside.",
        },
        "hardTimeoutSeconds": 900,
        "determinism": {"seedPolicy": "optional", "notes": "Identical runs differ; compare pairs of runs."},
    }


def _metric(name: str, direction: str, number: str) -> dict[str, Any]:
    return {
        "name": name,
        "direction": direction,
        "extract": {"kind": "regex", "pattern": rf"^{name}:\s+({number})$", "exampleStdout": _EXAMPLE_LOG},
    }


_EXAMPLE_LOG: Final = """---
val_bpb:          1.396551
training_seconds: 3.0
total_seconds:    4.7
peak_vram_mb:     23.0
mfu_percent:      0.00
total_tokens_M:   0.034
num_steps:        67
num_params_M:     0.057
depth:            2"""
