"""Lists of numbers or words, and small programs whose output is asked for."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from models.house import vocabulary
from models.house.families.phrasing import Draw, Kind, number, word


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
    Kind(
        "sort_numbers", 1.6, _list(sorted),
        (
            "Sort these numbers from smallest to largest: {l}.",
            "Put [{l}] into ascending order.",
            "Arrange {l} in increasing order, please.",
        ),
        ("Line up {l} so that every entry is at least as large as the one before.",),
    ),
    Kind(
        "total", 1.4, _figure(sum),
        (
            "What is the sum of the list [{l}]?",
            "Add up these numbers: {l}.",
            "I spent {l} coins this week. What is the total?",
        ),
        ("If all entries of [{l}] were summed, what would you get?",),
    ),
    Kind(
        "average", 1.2, _average,
        ("What is the average of {l}?", "Compute the mean of [{l}].", "My marks are {l}. Where does the average lie?"),
        ("Balance out {l}: which arithmetic mean do they have?",),
    ),
    Kind(
        "largest", 0.9, _figure(max),
        ("What is the largest number in [{l}]?", "Find the maximum of {l}.", "Which of {l} is the biggest?"),
        ("Among the heights {l}, name the highest.",),
    ),
    Kind(
        "smallest", 0.9, _figure(min),
        ("What is the smallest number in [{l}]?", "Find the minimum of {l}.", "Which of {l} is the least?"),
        ("Out of the offers {l}, pick the cheapest, that is the lowest.",),
    ),
    Kind(
        "second", 0.8, _second,
        ("What is the second largest number in [{l}]?", "After the biggest one, which of {l} is largest?"),
        ("Scores: {l}. Who won silver, I mean the runner-up value?",),
    ),
    Kind(
        "evens", 1, _list(lambda values: [v for v in values if v % 2 == 0]),
        ("Keep only the even numbers of [{l}].", "Which of {l} are even?", "Filter {l}: even numbers only."),
        ("Drop every odd member of {l} and write down what survives.",),
    ),
    Kind(
        "above", 0.9, _above,
        ("How many of {l} are greater than {n}?", "Count the numbers above {n} in [{l}]."),
        ("In the list {l}, how many entries exceed {n}?",),
    ),
    Kind(
        "distinct", 0.8, _distinct,
        ("Remove the duplicates from [{l}].", "List every number of {l} only once, in the order of appearance."),
        ("Someone typed {l} with repetitions; show the unique ones, first come first served.",),
    ),
    Kind(
        "reverse_list", 0.9, _list(lambda values: values[::-1]),
        ("Reverse the list [{l}].", "Write {l} in reverse order."),
        ("Read {l} from back to front.",),
    ),
    Kind(
        "by_length", 1.3, _by_length,
        ("Sort by length, shortest word first: {l}.", "Order the words {l} by their number of letters."),
        ("Queue up {l} so that short words come before longer words.",),
    ),
    Kind(
        "snippet", 2, _snippet,
        (
            "What does this Python code print?\n{c}",
            "Run this in your head and tell me the output:\n{c}",
            "I typed this into Python:\n{c}\nWhat appeared on the screen?",
        ),
        ("Predict what the program writes.\n{c}", "{c}\n# which output does the interpreter show?"),
    ),
)  # fmt: skip
