"""Questions about words and letters, from capital letters to letters of long words and the order of long lists."""

from __future__ import annotations

from random import Random

from models.house import almanac, vocabulary
from models.house.families.phrasing import Draw, kind, number, word


def _word(rng: Random) -> str:
    return rng.choice(vocabulary.SHORT if rng.random() < 0.6 else vocabulary.LONG)


def _words(rng: Random) -> list[str]:
    return rng.sample(vocabulary.SHORT, rng.choice((3, 4, 5, 6, 8, 9, 10)))


def _reverse(rng: Random) -> Draw:
    w = _word(rng)
    return word(w[::-1], w=w)


def _count(rng: Random) -> Draw:
    w = _word(rng)
    c = rng.choice(w)
    return number(w.count(c), w=w, c=c)


def _length(rng: Random) -> Draw:
    w = _word(rng)
    return number(len(w), w=w)


def _vowels(rng: Random) -> Draw:
    w = _word(rng)
    return number(sum(c in "aeiou" for c in w), w=w)


def _nth(rng: Random) -> Draw:
    w = _word(rng)
    n = rng.randint(2, len(w))
    return word(w[n - 1], w=w, n=n)


def _sorted(rng: Random) -> Draw:
    words = _words(rng)
    return word(", ".join(sorted(words)), l=", ".join(words))


def _longest(rng: Random) -> Draw:
    words = _words(rng)
    words[rng.randrange(len(words))] = longest = rng.choice(vocabulary.LONG)
    return word(longest, l=", ".join(words))


def _plural(rng: Random) -> Draw:
    w = rng.choice((*vocabulary.IRREGULAR, *vocabulary.SHORT))
    return word(vocabulary.plural(w), w=w)


def _unscramble(rng: Random) -> Draw:
    w = rng.choice(vocabulary.SHORT)
    letters = list(w)
    while (scrambled := "".join(letters)) == w:
        rng.shuffle(letters)
    return word(w, s=scrambled)


def _upper(rng: Random) -> Draw:
    p = rng.choice(vocabulary.PHRASES)
    return Draw({"p": p}, p.upper(), options={"case": True})


def _initials(rng: Random) -> Draw:
    p = rng.choice(vocabulary.PHRASES)
    return word("".join(part[0] for part in p.split()).upper(), p=p)


def _opposite(rng: Random) -> Draw:
    w = rng.choice(tuple(almanac.OPPOSITE))
    return word(almanac.OPPOSITE[w], w=w)


KINDS = (
    kind("reverse", _reverse),
    kind("count_letter", _count),
    kind("length", _length),
    kind("vowels", _vowels),
    kind("nth_letter", _nth),
    kind("sort_words", _sorted),
    kind("longest", _longest),
    kind("plural", _plural),
    kind("unscramble", _unscramble),
    kind("upper", _upper),
    kind("initials", _initials),
    kind("opposite", _opposite),
)
