#!/usr/bin/env python3
"""Buy tokens within a bound, as ``armlx-chain buy`` does: ``scripts/buy.py --project 1 --count 10``."""

import sys

from armlx_chain.cli.main import cli, run

if __name__ == "__main__":
    sys.exit(run(cli, ["buy", *sys.argv[1:]], name="armlx-chain"))
