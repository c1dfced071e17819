"""The embedded chain: py-evm's execution under cancun rules; blocks, pool, clock and journal are ours."""
