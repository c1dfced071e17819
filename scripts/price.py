#!/usr/bin/env python3
"""What tokens cost and bring, as ``armlx-chain price`` says: ``scripts/price.py --project 1 --count 10``."""

import sys

from armlx_chain.cli.main import cli, run

if __name__ == "__main__":
    sys.exit(run(cli, ["price", *sys.argv[1:]], name="armlx-chain"))
