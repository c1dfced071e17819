"""Downloads a root with our client into a file: ours.py <url> <root> <file> <workers>; prints JSON."""

import json
import resource
import sys
import time
from pathlib import Path

from armlx_chain.storage.zerog.client import Endpoint, ZeroGStorage
from armlx_chain.types import Root

url, root, file, workers = sys.argv[1:]
began, cpu = time.perf_counter(), time.process_time()
storage = ZeroGStorage([Endpoint(url)], workers=int(workers))
storage.download(Root.parse(root), Path(file), max_bytes=1 << 40)
seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(json.dumps({"wall": seconds, "cpu": cpu, "peak": peak}))
