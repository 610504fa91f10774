"""Whether what a router is tested on is what it was taught: texts that are equal but for case and spaces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence


def normal(text: str) -> str:
    """The text in lower case, with one space for each run of them. Signs and digits stay: they make other sums."""
    return " ".join(text.casefold().split())


def contaminated(taught: Iterable[str], tested: Sequence[str]) -> int:
    """How many of the tested texts were taught, too."""
    known = {normal(text) for text in taught}
    return sum(normal(text) in known for text in tested)


def twins(texts: Sequence[str]) -> int:
    """How many of the texts are equal to another one but for case and spaces, and not equal to it."""
    forms = defaultdict(set)
    for text in texts:
        forms[normal(text)].add(text)
    return sum(len(forms[normal(text)]) > 1 for text in texts)
