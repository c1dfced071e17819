"""A report can be written whatever letters a stranger's program uses and whatever the machine's locale is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

_WRITE = """
import locale, sys
from pathlib import Path
from types import SimpleNamespace
from verifier.daemon.judge import Judge
from verifier.model import Reason
from verifier.verdict.plain import without_runs
assert locale.getencoding().lower() not in ("utf-8", "utf8"), locale.getencoding()
keeper = SimpleNamespace(folder_of=lambda number: Path(sys.argv[1]) / str(number))
Judge._write_report(keeper, SimpleNamespace(id=7), without_runs(Reason.VERIFIER_FAULT, sys.argv[2]))
"""


def test_a_report_holds_any_letters_under_any_locale(tmp_path: Path) -> None:
    said = "Last line: größer … 精度"
    script = _WRITE.replace("sys.argv[2]", ascii(said))
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env=plain, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert said in (tmp_path / "7" / "report.txt").read_text(encoding="utf-8")
