"""An invented language with structure worth learning.

What a model can find in it, from easy to hard:

- spelling: words are made of a few syllables, so the next piece of a word is often clear;
- word order: a handful of sentence forms with articles, adjectives and prepositions in fixed places;
- word pairs: every noun has its own few adjectives and verbs, every verb its own few objects;
- agreement: one subject takes ``-s`` at the verb, several take none; a person keeps the same pronoun;
- memory: names, numbers and things come back later in the same document;
- arithmetic: small sums are right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from armlx_chain.devnet.benchmark.randomness import Dice

_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "br", "st", "tr")
_VOWELS = ("a", "e", "i", "o", "u", "ai")
_CODAS = ("", "", "", "n", "r", "l", "m", "t")
_PLACES = ("in", "near", "behind", "above", "under")
_TIMES = ("today", "at night", "in spring", "every day", "after the rain")


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    pronoun: str


@dataclass(frozen=True, slots=True)
class Language:
    """The words and which of them go together."""

    nouns: tuple[str, ...]
    people: tuple[Person, ...]
    places: tuple[str, ...]
    adjectives_of: Mapping[str, tuple[str, ...]]
    verbs_of: Mapping[str, tuple[str, ...]]
    objects_of: Mapping[str, tuple[str, ...]]

    @classmethod
    def invent(cls, seed: int) -> Language:
        """The language of a seed. Shards of one seed share it; that is what makes them one distribution."""
        dice = Dice(seed, "language")
        words = _invent_words(dice, 130)
        nouns, verbs, adjectives, places, names = (
            words[:50],
            words[50:80],
            words[80:102],
            words[102:112],
            words[112:],
        )
        return cls(
            nouns=nouns,
            people=tuple(Person(name.capitalize(), dice.one_of(("he", "she"))) for name in names),
            places=places,
            adjectives_of={noun: dice.some_of(adjectives, 3) for noun in nouns},
            verbs_of={noun: dice.some_of(verbs, 3) for noun in nouns},
            objects_of={verb: dice.some_of(nouns, 4) for verb in verbs},
        )

    def documents(self, seed: int, name: str, total_bytes: int) -> Iterator[str]:
        """Documents of the stream called ``name``, until they hold at least ``total_bytes``."""
        dice = Dice(seed, "documents", name)
        written = 0
        while written < total_bytes:
            text = " ".join(_Story(self, dice).sentences(2 + dice.below(5)))
            written += len(text)
            yield text


def _invent_words(dice: Dice, count: int) -> tuple[str, ...]:
    syllables = dice.some_of([onset + vowel for onset, vowel in product(_ONSETS, _VOWELS)], 48)
    words: dict[str, None] = {}
    while len(words) < count:
        middle = "".join(dice.early_one_of(syllables) for _ in range(1 + dice.below(2)))
        words[middle + dice.one_of(syllables) + dice.one_of(_CODAS)] = None
    return tuple(words)


class _Story:
    """One document: a person, a thing, a number, and what happens to them."""

    def __init__(self, language: Language, dice: Dice) -> None:
        self._words = language
        self._dice = dice
        self._person = dice.early_one_of(language.people)
        self._thing = dice.early_one_of(language.nouns)
        self._place = dice.one_of(language.places)
        self._number = 2 + dice.below(30)
        self._named = False

    def sentences(self, count: int) -> Iterator[str]:
        forms = (self._act, self._meet, self._count, self._describe, self._visit, self._add)
        for _ in range(count):
            sentence = self._dice.early_one_of(forms)()
            yield sentence[0].upper() + sentence[1:] + "."

    def _who(self) -> str:
        """The name at first; later more often the pronoun."""
        if self._named and self._dice.happens(60):
            return self._person.pronoun
        self._named = True
        return self._person.name

    def _noun_phrase(self, noun: str) -> str:
        if self._dice.happens(50):
            return f"the {self._dice.early_one_of(self._words.adjectives_of[noun])} {noun}"
        return f"the {noun}"

    def _tail(self) -> str:
        if self._dice.happens(25):
            return f" {self._dice.early_one_of(_PLACES)} the {self._place}"
        return f" {self._dice.early_one_of(_TIMES)}" if self._dice.happens(20) else ""

    def _act(self) -> str:
        """A thing does something to another thing, which is the subject from then on."""
        subject = self._thing
        verb = self._dice.early_one_of(self._words.verbs_of[subject])
        self._thing = self._dice.early_one_of(self._words.objects_of[verb])
        many = self._dice.happens(30)
        start = f"{self._number} {subject}s {verb}" if many else f"{self._noun_phrase(subject)} {verb}s"
        return f"{start} {self._noun_phrase(self._thing)}{self._tail()}"

    def _meet(self) -> str:
        verb = self._dice.early_one_of(self._words.verbs_of[self._thing])
        return f"{self._who()} {verb}s {self._noun_phrase(self._thing)}{self._tail()}"

    def _count(self) -> str:
        return f"{self._who()} counts {self._number} {self._thing}s{self._tail()}"

    def _describe(self) -> str:
        first, second = self._dice.some_of(self._words.adjectives_of[self._thing], 2)
        return f"the {self._thing} is {first} and {second}"

    def _visit(self) -> str:
        return f"{self._who()} walks to the {self._place} with the {self._thing}"

    def _add(self) -> str:
        more = 1 + self._dice.below(9)
        return f"{self._number} and {more} {self._thing}s are {self._number + more} {self._thing}s"
