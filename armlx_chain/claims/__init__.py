"""From a run folder to a staked claim, and from files to a published project."""
