"""What the self-check does *inside* a sandbox. Shown there as a folder; imports nothing else of ours.

Every attempt leaves one entry in ``tools.RESULTS``. One that failed as it should is ``"refused: …"``;
anything else is what it got. Nothing here judges: that is done outside, by ``verifier.sandbox.promises``.
"""
