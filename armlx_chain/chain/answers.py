"""What a node says to a broadcast, told apart.

- Every answer is one :class:`Answer`; words that nobody here has seen are :attr:`Answer.UNKNOWN`, from which
  nothing is concluded.
- The wordings are those of geth, reth, erigon, nethermind, besu, anvil, py-evm, parity and Cosmos EVM chains.
  Order matters: ``replacement transaction underpriced`` holds the word ``underpriced``.

>>> classify("nonce too low: next nonce 5, tx nonce 4")
<Answer.NONCE_USED: 'nonce used'>
"""

from __future__ import annotations

import re
from enum import Enum

__all__ = ["Answer", "classify", "minimum_tip"]


class Answer(Enum):
    """What became of the bytes."""

    KNOWN = "already known"
    """The pool has these very bytes."""
    NONCE_USED = "nonce used"
    """A transaction with this nonce is mined: this one, another of ours, or somebody else's."""
    NONCE_AHEAD = "nonce ahead"
    """The node misses earlier nonces: it lags behind, or one of them was lost."""
    OUTBID = "replacement underpriced"
    """The pool holds another transaction of this nonce that offers too much to be replaced."""
    UNDERPRICED = "underpriced"
    """Below what this node takes at all."""
    BELOW_BASE_FEE = "below base fee"
    INSUFFICIENT_FUNDS = "insufficient funds"
    POOL_FULL = "pool full"
    BUSY = "busy"
    """Rate limits and time-outs; nothing is known about the bytes."""
    INVALID = "invalid"
    """No node of this chain will ever take these bytes."""
    UNKNOWN = "unknown"


_PATTERNS: tuple[tuple[Answer, str], ...] = (
    (
        Answer.KNOWN,
        r"already known|alreadyknown|already imported|already in (?:the )?(?:mempool|pool|cache)"
        r"|known transaction|already exists|same hash",
    ),
    (
        Answer.OUTBID,
        r"replacement .*underpriced|replacement not allowed|replacementnotallowed|could not replace"
        r"|replaced by (?:a )?transaction with higher|another transaction with same nonce"
        r"|gas price too low to replace",
    ),
    (
        Answer.NONCE_USED,
        r"nonce too low|nonce is too low|old ?nonce|nonce .*already (?:been )?used",
    ),
    (
        Answer.NONCE_AHEAD,
        r"nonce too high|nonce is too high|nonce ?gap|nonce too far|nonce is too distant|future nonce"
        r"|noncetoofarinfuture|gapped",
    ),
    (
        Answer.BELOW_BASE_FEE,
        r"less than (?:the )?(?:current )?(?:block )?base ?fee|fee cap .*base ?fee"
        r"|below (?:the )?(?:block )?base ?fee",
    ),
    (
        Answer.INVALID,
        r"intrinsic gas|exceeds (?:the )?block gas limit|gas ?limit ?exceeded|exceeds the configured cap"
        r"|invalid sender|invalid chain ?id|invalid signature|oversized|gas required exceeds"
        r"|higher than max ?fee|greater than max ?fee|max initcode|replay-protected|failedtoresolvesender",
    ),
    (
        Answer.UNDERPRICED,
        r"underpriced|fee ?too ?low|price below|below (?:configured )?minimum|gas price is too low"
        r"|insufficient fee|tip .*too low|minimum needed",
    ),
    (
        Answer.INSUFFICIENT_FUNDS,
        r"insufficient ?(?:funds|balance)|upfront cost exceeds|not have enough (?:balance|funds)"
        r"|insufficientfunds",
    ),
    (
        Answer.POOL_FULL,
        r"pool is full|pool full|mempool is full|too many transactions in the queue|account limit exceeded"
        r"|pendingtxslimit|too many pending",
    ),
    (
        Answer.BUSY,
        r"rate limit|too many requests|limit exceeded|request limit|throttl|timed? ?out|try again"
        r"|temporarily|unavailable|overload|capacity",
    ),
)
_COMPILED = tuple((answer, re.compile(pattern)) for answer, pattern in _PATTERNS)
_EXPECTED_GOT = re.compile(r"expected (\d{1,20})[^0-9]{1,30}got (\d{1,20})")
_GOT_EXPECTED = re.compile(r"got (\d{1,20})[^0-9]{1,30}expected (\d{1,20})")
_MINIMUM = re.compile(r"minimum (?:needed|allowed|required)?:? ?(\d{1,30})")
_LONGEST = 2_000


def classify(words: str) -> Answer:
    """Tell a node's refusal apart; never raises, whatever the words."""
    text = words[:_LONGEST].lower()
    for answer, pattern in _COMPILED:
        if pattern.search(text):
            return answer
    if "nonce" in text or "sequence" in text:
        return _by_numbers(text)
    return Answer.UNKNOWN


def minimum_tip(words: str) -> int | None:
    """The least tip in wei that an ``UNDERPRICED`` answer asks for, where it says so."""
    found = _MINIMUM.search(words[:_LONGEST].lower())
    return None if found is None else int(found.group(1))


def _by_numbers(text: str) -> Answer:
    """py-evm and Cosmos chains say which nonce they expected instead of which side it is on."""
    found = _EXPECTED_GOT.search(text)
    if found is not None:
        expected, got = int(found.group(1)), int(found.group(2))
    else:
        found = _GOT_EXPECTED.search(text)
        if found is None:
            return Answer.UNKNOWN
        got, expected = int(found.group(1)), int(found.group(2))
    if got == expected:
        return Answer.UNKNOWN
    return Answer.NONCE_USED if got < expected else Answer.NONCE_AHEAD
