"""Downloads a root with the SDK from PyPI: pypi.py <url> <root> <file>; prints JSON. Runs in its own venv."""

import contextlib
import io
import json
import resource
import sys
import time

from core.indexer import Indexer

url, root, file = sys.argv[1:]
began, cpu = time.perf_counter(), time.process_time()
with contextlib.redirect_stdout(io.StringIO()):
    failure = Indexer(url).download(root, file)
seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(
    json.dumps(
        {"wall": seconds, "cpu": cpu, "peak": peak, "failure": None if failure is None else str(failure)}
    )
)
