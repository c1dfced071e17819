#!/usr/bin/env python3
"""What tokens cost and bring: ``scripts/price.py --project 1 --count 10`` (the same as ``armlx-chain price``)."""

import sys

from armlx_chain.cli.main import cli, run

if __name__ == "__main__":
    sys.exit(run(cli, ["price", *sys.argv[1:]], name="armlx-chain"))
