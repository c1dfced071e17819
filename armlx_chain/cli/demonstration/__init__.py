"""The whole story on one machine, told in plain words; every step is checked against the chain."""
