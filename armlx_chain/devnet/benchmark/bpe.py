"""Byte-pair encoding: a small trainer whose result depends on the text alone.

A token is a run of bytes. Training starts from the 256 single bytes and joins, again and again, the pair of
neighbours that is most frequent inside the pieces of the text; of equally frequent pairs the smallest in
byte order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

from armlx_chain.errors import DevnetError

Symbols = tuple[bytes, ...]


def train(texts: Iterable[str], pattern: str, tokens: int) -> dict[bytes, int]:
    """The ranks of ``tokens`` tokens, in the order in which they were found.

    Raises:
        DevnetError: if the text has too few different pairs for that many tokens.
    """
    pieces = _pieces(texts, pattern)
    ranks = {bytes([value]): value for value in range(256)}
    while len(ranks) < tokens:
        pairs = _count_pairs(pieces)
        if not pairs:
            raise DevnetError(f"the text is too small for a vocabulary of {tokens} tokens")
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        ranks[best[0] + best[1]] = len(ranks)
        pieces = Counter({_join(symbols, best): count for symbols, count in pieces.items()})
    return ranks


def _pieces(texts: Iterable[str], pattern: str) -> Counter[Symbols]:
    """How often each piece occurs; merges never cross the border between pieces."""
    splitter = re.compile(pattern)
    words = Counter(piece for text in texts for piece in splitter.findall(text))
    return Counter({_single_bytes(word): count for word, count in words.items()})


def _single_bytes(word: str) -> Symbols:
    return tuple(bytes([value]) for value in word.encode())


def _count_pairs(pieces: Counter[Symbols]) -> Counter[tuple[bytes, bytes]]:
    pairs: Counter[tuple[bytes, bytes]] = Counter()
    for symbols, count in pieces.items():
        for pair in pairwise(symbols):
            pairs[pair] += count
    return pairs


def _join(symbols: Symbols, pair: tuple[bytes, bytes]) -> Symbols:
    if pair[0] not in symbols:
        return symbols
    joined: list[bytes] = []
    for symbol in symbols:
        # The last symbol is only joined when it is still the left half itself: "aaa" gives "aa", "a".
        if joined and joined[-1] == pair[0] and symbol == pair[1]:
            joined[-1] = pair[0] + pair[1]
        else:
            joined.append(symbol)
    return tuple(joined)
