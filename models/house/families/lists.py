"""Lists of numbers or words, and small programs whose output is asked for."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from models.house import vocabulary
from models.house.families.phrasing import Draw, kind, number, word


def _numbers(rng: Random, low: int = 1) -> list[int]:
    top = rng.choice((20, 99, 999))
    return [rng.randint(low, top) for _ in range(rng.choice((4, 5, 6, 7, 9, 11)))]


def _shown(values: list[int]) -> str:
    return ", ".join(map(str, values))


def _list(work: Callable[[list[int]], list[int]]) -> Callable[[Random], Draw]:
    """Content whose result is a list, written with or without brackets."""

    def draw(rng: Random) -> Draw:
        values = _numbers(rng)
        while not (result := work(values)):
            values = _numbers(rng)
        return Draw({"l": _shown(values)}, [_shown(result), f"[{_shown(result)}]"])

    return draw


def _figure(work: Callable[[list[int]], int]) -> Callable[[Random], Draw]:
    """Content whose result is one number."""

    def draw(rng: Random) -> Draw:
        values = _numbers(rng)
        return number(work(values), l=_shown(values))

    return draw


def _average(rng: Random) -> Draw:
    values = _numbers(rng)
    values[-1] += -sum(values) % len(values)
    return number(sum(values) // len(values), l=_shown(values))


def _second(rng: Random) -> Draw:
    values = rng.sample(range(1, rng.choice((30, 300))), rng.choice((4, 5, 7, 9)))
    return number(sorted(values)[-2], l=_shown(values))


def _above(rng: Random) -> Draw:
    values = _numbers(rng)
    n = rng.choice(values)
    return number(sum(v > n for v in values), l=_shown(values), n=n)


def _distinct(rng: Random) -> Draw:
    values = rng.choices(range(1, rng.choice((9, 40))), k=rng.choice((5, 7, 9)))
    result = _shown(list(dict.fromkeys(values)))
    return Draw({"l": _shown(values)}, [result, f"[{result}]"])


def _by_length(rng: Random) -> Draw:
    by_length: dict[int, str] = {}
    for entry in rng.sample(vocabulary.DICTIONARY, len(vocabulary.DICTIONARY)):
        by_length.setdefault(len(entry), entry)
    words = rng.sample(list(by_length.values()), rng.choice((3, 4, 5, 6)))
    return word(", ".join(sorted(words, key=len)), l=", ".join(words))


def _snippet(rng: Random) -> Draw:
    a, b, c = rng.randint(2, 9), rng.randint(2, 9), rng.randint(3, 7)
    w, values = rng.choice(vocabulary.SHORT), _numbers(rng)[:5]
    doubled = a
    for i in range(c):
        doubled = doubled * 2 + i
    code, result = rng.choice(
        (
            (f"x = {a}\nfor i in range({c}):\n    x = x * 2 + i\nprint(x)", str(doubled)),
            (f"print(sum(range({a}, {a + b})))", str(sum(range(a, a + b)))),
            (f"print([n for n in {values} if n % {b} == 0])", str([n for n in values if n % b == 0])),
            (f"print(len('{w}') * {a})", str(len(w) * a)),
            (f"print('{w}'[::-1])", w[::-1]),
            (f"print(max({values}) - min({values}))", str(max(values) - min(values))),
            (f"t = 0\nfor v in {values}:\n    if v > {b * 10}:\n        t += v\nprint(t)",
             str(sum(v for v in values if v > b * 10))),
            (f"print(sorted({values})[{min(b, 3)}])", str(sorted(values)[min(b, 3)])),
            (f"n = {a * 10 + b}\nwhile n > {c}:\n    n = n // 2\nprint(n)", str(_halved(a * 10 + b, c))),
        )
    )  # fmt: skip
    return word(result, c=code)


def _halved(n: int, stop: int) -> int:
    while n > stop:
        n //= 2
    return n


KINDS = (
    kind("sort_numbers", _list(sorted)),
    kind("total", _figure(sum)),
    kind("average", _average),
    kind("largest", _figure(max)),
    kind("smallest", _figure(min)),
    kind("second", _second),
    kind("evens", _list(lambda values: [v for v in values if v % 2 == 0])),
    kind("above", _above),
    kind("distinct", _distinct),
    kind("reverse_list", _list(lambda values: values[::-1])),
    kind("by_length", _by_length),
    kind("snippet", _snippet),
)
