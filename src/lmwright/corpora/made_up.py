"""Made-up names, which deserve "I don't know that name."; fresh ones for every question.

Five kinds: one-edit misspellings of real names; a real module or class with a wrong attribute
(another module's function, or an invented one); nonsense; other languages' functions; compounds,
where module and function are both invented. Compounds are asked about, never trained on.

What is made up in a name (the misspelt part, the wrong attribute, both halves of a compound)
belongs by its hash to one of three parts: training, validation, test. So no made-up half of a
held-out name is ever trained on.
"""

import functools
import hashlib
import keyword
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from lmwright.corpora import vocabulary as words
from lmwright.corpora.python_names import DocumentedName, exists

Part = Literal["training", "validation", "test"]
Kind = Literal["misspelling", "wrong_attribute", "compound", "nonsense", "other_language"]
HELD_OUT_KINDS: tuple[Kind, ...] = ("misspelling", "wrong_attribute", "compound")

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_SHORTEST_ALONE = 4  # "in" and "it", one letter from `int`, are words of the question
_MOST_TRIES = 10_000  # a generator that finds nothing in so many tries is broken, not unlucky


@dataclass(frozen=True)
class MadeUp:
    """A name that does not exist.

    Args:
        name: the dotted name.
        kind: how it was made.
        nearest: the documented name that it is most like.
    """

    name: str
    kind: Kind
    nearest: DocumentedName


def part_of(text: str) -> Part:
    """The part that a made-up half belongs to, by its hash: 80 % training, 10 % each other."""
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") % 10
    return "training" if number < 8 else "validation" if number == 8 else "test"


class MadeUpNames:
    """Makes names up, all in one part.

    Args:
        names: the documented names; misspellings and owners are theirs.
        part: which made-up halves may be used.
        rng: source of chance.
    """

    def __init__(self, names: Sequence[DocumentedName], part: Part, rng: random.Random) -> None:
        self._names = list(names)
        self._part = part
        self._rng = rng
        self._by_owner: dict[str, list[DocumentedName]] = {}
        for name in names:
            self._by_owner.setdefault(name.owner, []).append(name)
        # An owner of one or two names says too little for its attributes to be told apart.
        self._owners = [o for o, own in self._by_owner.items() if len(own) > 2 and o != "builtins"]
        self._attributes = {name.attribute for name in names}
        self._foreign = [
            name
            for name in names
            if part_of(name.attribute) == part and name.attribute[0].islower() and "." in name.name
        ]
        self._queue: list[DocumentedName] = []
        self._make: dict[Kind, Callable[[], MadeUp | None]] = {
            "misspelling": self._misspelling,
            "wrong_attribute": self._wrong_attribute,
            "compound": self._compound,
            "nonsense": self._nonsense,
            "other_language": self._other_language,
        }

    def make(self, kind: Kind) -> MadeUp:
        """A fresh name of one kind."""
        for _ in range(_MOST_TRIES):
            made = self._make[kind]()
            if made is not None:
                return made
        raise AssertionError(f"no {kind} of the {self._part} part in {_MOST_TRIES} tries")

    def make_distinct(self, kind: Kind, number: int) -> list[MadeUp]:
        """So many different names of one kind."""
        found: dict[str, MadeUp] = {}
        for _ in range(_MOST_TRIES):
            if len(found) == number:
                return list(found.values())
            made = self.make(kind)
            found.setdefault(made.name, made)
        raise AssertionError(f"not {number} names of kind {kind} in {_MOST_TRIES} tries")

    def _misspelling(self) -> MadeUp | None:
        real = self._next_name()
        parts = real.name.split(".")
        sizes = [max(len(part) - 2, 0) for part in parts]  # short words are rarely misspelt
        if not sum(sizes):
            return None
        place = self._rng.choices(range(len(parts)), sizes)[0]
        wrong = edit(parts[place], self._rng)
        name = ".".join([*parts[:place], wrong, *parts[place + 1 :]])
        if wrong == parts[place] or part_of(wrong) != self._part or wrong in self._attributes:
            return None
        if keyword.iskeyword(name) or len(name) < _SHORTEST_ALONE:
            return None
        return None if _is_real(name) else MadeUp(name, "misspelling", real)

    def _wrong_attribute(self) -> MadeUp | None:
        owner = self._rng.choice(self._owners)
        if self._rng.random() < 0.5:
            donor = self._rng.choice(self._foreign)
            attribute, nearest = donor.attribute, donor
        else:
            attribute = invented_function(self._rng)
            while part_of(attribute) != self._part:
                attribute = invented_function(self._rng)
            nearest = _most_alike(attribute, self._by_owner[owner])
        name = f"{owner}.{attribute}"
        return None if _is_real(name) else MadeUp(name, "wrong_attribute", nearest)

    def _compound(self) -> MadeUp | None:
        rng = self._rng
        module = rng.choice(words.COMPOUND_STEMS) + rng.choice(words.COMPOUND_SUFFIXES)
        function = f"{rng.choice(words.VERBS)}_{rng.choice(words.NOUNS)}"
        name = f"{module}.{function}"
        if part_of(module) != self._part or part_of(function) != self._part or _is_real(name):
            return None
        return MadeUp(name, "compound", self._next_name())

    def _nonsense(self) -> MadeUp | None:
        number = self._rng.choice((1, 2, 2, 2, 3))
        name = ".".join(nonsense_word(self._rng) for _ in range(number))
        if _is_real(name) or name in self._attributes:
            return None
        return MadeUp(name, "nonsense", self._next_name())

    def _other_language(self) -> MadeUp | None:
        owners, separator, functions = self._rng.choice(words.OTHER_LANGUAGES)
        name = f"{self._rng.choice(owners)}{separator}{self._rng.choice(functions)}"
        return None if _is_real(name) else MadeUp(name, "other_language", self._next_name())

    def _next_name(self) -> DocumentedName:
        """Each documented name as often as the others."""
        if not self._queue:
            self._queue = self._rng.sample(self._names, len(self._names))
        return self._queue.pop()


def edit(word: str, rng: random.Random) -> str:
    """`word` with one edit of its letters: one dropped, doubled, swapped, mistyped or added."""
    place = rng.randrange(len(word))
    kind = rng.choice(("drop", "double", "swap", "mistype", "add"))
    if kind == "drop":
        return word[:place] + word[place + 1 :]
    if kind == "double":
        return word[:place] + word[place] + word[place:]
    if kind == "swap" and place + 1 < len(word):
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    if kind == "mistype":
        return word[:place] + _neighbour(word[place], rng) + word[place + 1 :]
    return word[:place] + rng.choice(_LETTERS) + word[place:]


def invented_function(rng: random.Random) -> str:
    """A function that a module could well have: `list_files`, `tolist`, `reverse`."""
    verb, noun, style = rng.choice(words.VERBS), rng.choice(words.NOUNS), rng.random()
    if style < 0.55:
        return f"{verb}_{noun}"
    if style < 0.70:
        return verb + noun
    if style < 0.85:
        return f"{rng.choice(words.PREFIXES)}{rng.choice(('_', ''))}{noun}"
    return rng.choice((verb, noun))


def nonsense_word(rng: random.Random) -> str:
    """A word without meaning: syllables, or now and then letters at random."""
    if rng.random() < 0.15:
        return "".join(rng.choices(_LETTERS, k=rng.randrange(4, 10)))
    word = "".join(rng.choices(words.SYLLABLES, k=rng.randrange(2, 5)))
    return f"{word}_{''.join(rng.choices(words.SYLLABLES, k=2))}" if rng.random() < 0.1 else word


def _neighbour(letter: str, rng: random.Random) -> str:
    """A key beside `letter` on the keyboard, in the same case."""
    for row in _KEYBOARD:
        if (place := row.find(letter.lower())) >= 0:
            near = row[max(place - 1, 0) : place] + row[place + 1 : place + 2]
            found = rng.choice(near)
            return found.upper() if letter.isupper() else found
    return rng.choice(_LETTERS)


@functools.lru_cache(maxsize=200_000)
def _is_real(name: str) -> bool:
    return exists(name)


def _most_alike(attribute: str, siblings: Sequence[DocumentedName]) -> DocumentedName:
    """The sibling that shares most pairs of letters with `attribute`."""
    pairs = _pairs(attribute)
    return max(siblings, key=lambda s: len(pairs & _pairs(s.attribute)) / (1 + len(s.attribute)))


@functools.cache
def _pairs(word: str) -> frozenset[str]:
    return frozenset(word[i : i + 2] for i in range(len(word) - 1))
