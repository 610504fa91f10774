"""Words and letters: reversing, counting, ordering, plurals, anagrams, capitals, opposites."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from models.house import almanac, vocabulary
from models.house.workers.problem import Form, Problem, numbers, quoted

_LIST = re.compile(r"\b[a-z]+(?:, [a-z]+)+(?:,? and [a-z]+)?", re.IGNORECASE)
_BARE = re.compile(r"\b(?:word|reverse|of|in|does|spell) ([A-Za-z]+)\b")
_ANAGRAMS = {"".join(sorted(entry)): entry for entry in vocabulary.DICTIONARY}

Rule = tuple[str, re.Pattern[str], Callable[[str], str], Form]


def _cue(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _unscrambled(letters: str) -> str:
    if (found := _ANAGRAMS.get("".join(sorted(letters.lower())))) is None:
        raise ValueError("no such word in the dictionary")
    return found


def _opposite(entry: str) -> str:
    if (found := almanac.OPPOSITE.get(entry.lower())) is None:
        raise ValueError("no opposite known")
    return found


_OF_ONE_WORD: tuple[Rule, ...] = (
    ("reverse", _cue(r"\brevers|\bbackwards|right to left|from its end|\bflip"), lambda w: w[::-1].lower(), "word"),
    ("vowels", _cue(r"\bvowels?\b|a, e, i, o"), lambda w: str(sum(c in "aeiou" for c in w.lower())), "number"),
    ("plural", _cue(r"\bplural\b|\bseveral\b"), vocabulary.plural, "word"),
    ("unscramble", _cue(r"unscramble|anagram|rearrange|\bhides\b"), _unscrambled, "word"),
    ("upper", _cue(r"capital letters|upper ?case|all caps|majuscules"), str.upper, "word"),
    (
        "initials",
        _cue(r"initials|acronym|first letter of each|abbreviate"),
        lambda p: "".join(part[0] for part in p.split()).upper(),
        "word",
    ),
    ("opposite", _cue(r"opposite|antonym|contrary"), _opposite, "word"),
    (
        "length",
        _cue(r"how many (letters|characters|squares)|\blength\b|number of (letters|characters)"),
        lambda w: str(len(re.findall(r"\w", w))),
        "number",
    ),
)


def _target(text: str) -> str | None:
    named = [entry for entry in quoted(text) if len(entry) > 1]
    if named:
        return named[-1]
    if found := re.search(r"\bone ([a-z]+), two\b", text, re.IGNORECASE):
        return found.group(1)
    found_bare = _BARE.findall(text)
    return found_bare[-1] if found_bare else None


def _letters(text: str, target: str) -> Problem | None:
    """Problems about one letter of a word: how often it occurs, or which letter is at a position."""
    single = [entry for entry in quoted(text) if len(entry) == 1] or re.findall(r"\b([a-z])'s\b", text)
    if single:
        return Problem("count_letter", len(target), lambda: str(target.lower().count(single[0].lower())))
    values = numbers(text)
    if len(values) == 1 and re.search(r"\b(letter|position|place)\b", text, re.IGNORECASE):
        place = int(values[0])
        if 1 <= place <= len(target):
            return Problem("nth_letter", len(target), lambda: target[place - 1].lower(), "word")
    return None


def _lists(text: str) -> Problem | None:
    entries = max((re.split(r",? and |, ", found) for found in _LIST.findall(text)), key=len, default=[])
    if len(entries) < 2:
        return None
    if re.search(r"alphabet|dictionary|\bA to Z\b", text, re.IGNORECASE):
        return Problem("sort_words", len(entries), lambda: ", ".join(sorted(entries)), "list")
    if re.search(r"\blongest\b|most letters|most room", text, re.IGNORECASE):
        return Problem("longest", len(entries), lambda: max(entries, key=len), "word")
    return None


def read(text: str) -> Problem | None:
    """The problem about words in the text, or `None`."""
    unquoted = re.sub(r"\"[^\"]*\"|(?<!\w)'[^']*'(?!\w)", "", text)
    if "a, e, i, o" not in text and (problem := _lists(unquoted)) is not None:
        return problem
    target = _target(text)
    if target is None:
        return None
    if (problem := _letters(text, target)) is not None:
        return problem
    for kind, cue, work, form in _OF_ONE_WORD:
        if cue.search(unquoted):
            return Problem(kind, len(target), partial(work, target), form)
    return None
