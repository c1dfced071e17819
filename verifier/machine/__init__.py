"""The machine's own state, read from outside the runs: sleep, heat, power, load, who holds the GPU."""
