"""The root of a file by the Python SDK of 0G Storage: ``python pypi.py FILE``.

Runs in an environment of its own that holds the SDK. Prints one line of JSON as its siblings do.
"""

import json
import resource
import sys
import time

from core.file import ZgFile  # type: ignore[import-not-found]  # the SDK installs modules of this name


def main() -> None:
    file = ZgFile.from_file_path(sys.argv[1])
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_utime, time.perf_counter()
    tree, error = file.merkle_tree()
    if error is not None:
        raise SystemExit(str(error))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    wall = time.perf_counter() - start
    root = tree.root_hash()
    print(json.dumps({"root": root, "user": usage.ru_utime - before, "wall": wall, "peak": usage.ru_maxrss}))


main()
