"""Questions about words and letters, from capital letters to letters of long words and the order of long lists."""

from __future__ import annotations

from random import Random

from models.house import almanac, vocabulary
from models.house.families.phrasing import Draw, Kind, number, word


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
    Kind(
        "reverse", 1.6, _reverse,
        ("Reverse the word '{w}'.", 'What is "{w}" spelled backwards?', "Write '{w}' from right to left."),
        ("Flip the letters of '{w}' around.", "Read '{w}' letter by letter from its end. What does it spell?"),
    ),
    Kind(
        "count_letter", 1.4, _count,
        (
            "How many times does the letter '{c}' occur in '{w}'?",
            "Count the {c}'s in '{w}'.",
            'In the word "{w}", how often do you see "{c}"?',
        ),
        ("How frequently does '{c}' show up when one spells '{w}'?",),
    ),
    Kind(
        "length", 1, _length,
        (
            "How many letters does '{w}' have?",
            "What is the length of the word \"{w}\"?",
            "'{w}': how many characters long?",
        ),
        ("For a crossword: does '{w}' fit, that is, how many squares does it need?",),
    ),
    Kind(
        "vowels", 1, _vowels,
        ("How many vowels are in '{w}'?", "Count the vowels of \"{w}\"."),
        ("Of the letters in '{w}', how many are a, e, i, o or u?",),
    ),
    Kind(
        "nth_letter", 1, _nth,
        (
            "What is letter number {n} of '{w}'?",
            'Which letter stands at position {n} in "{w}"?',
            "Look at '{w}' and tell me its letter {n}, counted from the left.",
        ),
        ("Spell '{w}' and stop at place {n}. Where did you stop?",),
    ),
    Kind(
        "sort_words", 1.6, _sorted,
        (
            "Sort these words alphabetically: {l}.",
            "Put {l} into alphabetical order.",
            "How would a dictionary order {l}?",
        ),
        ("Arrange the following from A to Z: {l}.",),
    ),
    Kind(
        "longest", 0.8, _longest,
        (
            "Which is the longest word: {l}?",
            "Among {l}, which word has the most letters?",
            "Find the longest of these words: {l}.",
        ),
        ("Of {l}, which one takes up most room on a line?",),
    ),
    Kind(
        "plural", 1.2, _plural,
        (
            "What is the plural of '{w}'?",
            "Give the plural form of the noun '{w}'.",
            "One {w}, two what? I never remember the plural.",
        ),
        ("There is not just one '{w}' but several. How is that written?",),
    ),
    Kind(
        "unscramble", 1, _unscramble,
        (
            "Unscramble '{s}'.",
            "Which English word hides in the letters '{s}'?",
            "Rearrange '{s}' so that it makes a word.",
        ),
        ("Solve this anagram: '{s}'.",),
    ),
    Kind(
        "upper", 0.7, _upper,
        ("Write '{p}' in capital letters.", "Convert \"{p}\" to upper case.", "Make '{p}' all caps, please."),
        ("Shout '{p}' the way people do online, in majuscules.",),
    ),
    Kind(
        "initials", 0.8, _initials,
        (
            "What acronym do the initials of '{p}' form?",
            "Take the first letter of each word in '{p}' and join them.",
            "Our club is called '{p}'. Shorten it to its initials.",
        ),
        ("How does one abbreviate '{p}'?",),
    ),
    Kind(
        "opposite", 0.8, _opposite,
        ("What is the opposite of '{w}'?", "Give an antonym of \"{w}\"."),
        ("Which word says the contrary of '{w}'?",),
    ),
)  # fmt: skip
