"""A small valid protocol document, and how to change one place of it."""

from __future__ import annotations

import copy
import json
from typing import Any

BASE: dict[str, Any] = {
    "schemaKind": "protocol",
    "protocolVersion": "1.0",
    "meta": {
        "archetype": "ml_train",
        "eligibility": "eligible",
        "purposeStatement": "Lower val_bpb.",
        "repo": {"owner": "o", "name": "n", "cloneUrl": "https://example.org/o/n"},
        "createdAt": "2026-05-03T15:04:16Z",
    },
    "environment": {
        "setupCommands": ["uv sync"],
        "constraints": {"noNewDependencies": True, "networkPolicy": "offline"},
    },
    "mutableSurface": {
        "allowedGlobs": ["train.py"],
        "forbiddenGlobs": ["prepare.py"],
        "allowedKinds": ["code_edit"],
    },
    "immutableHarness": {"paths": ["prepare.py"], "rationale": "It measures."},
    "execution": {
        "command": "uv run train.py",
        "cwd": ".",
        "stopCondition": {"type": "wall_clock", "trainingSecondsBudget": 300},
        "hardTimeoutSeconds": 900,
    },
    "measurement": {
        "primaryMetric": {
            "name": "val_bpb",
            "direction": "minimize",
            "extract": {
                "kind": "regex",
                "pattern": "^val_bpb:\\s+([0-9]+(?:\\.[0-9]+)?)$",
                "exampleStdout": "---\nval_bpb: 2.534000\ndepth: 8",
            },
        },
        "baselinePolicy": {"establishOnHardware": True, "sameDataSnapshot": True},
    },
    "provenance": {"resultsLog": {"format": "tsv", "path": "results.tsv", "columns": ["commit"]}},
    "safety": {"oomPolicy": "fail"},
    "agentRules": {"simplicityCriterion": True},
}

REMOVED = object()


def tree(**changes: Any) -> dict[str, Any]:
    """The base document; a key such as ``meta__repo__owner`` names the place to change."""
    result = copy.deepcopy(BASE)
    for place, value in changes.items():
        *path, last = place.split("__")
        here: Any = result
        for part in path:
            here = here[int(part)] if isinstance(here, list) else here.setdefault(part, {})
        if value is REMOVED:
            del here[last]
        elif isinstance(here, list):
            here[int(last)] = value
        else:
            here[last] = value
    return result


def document(**changes: Any) -> bytes:
    return json.dumps(tree(**changes)).encode()
