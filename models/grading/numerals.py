r"""Parser of numbers in free text: each is read whole, with its sign, separators, exponent and fraction, or not at all.

It reads integers, decimals, thousands (1,234,567, 1 234 567, 12,34,567, 10'000, 1.234,56), the decimal comma,
scientific notation (1.5e3, 1.5 × 10^3, 10⁻⁵), fractions (3/4, mixed 1 1/2, \frac34) and signs. Text that only looks
like a number (a date, a range, a version, 2^5, 2\pi, the 4 of 3 + 4) is a stray: it has a position, but no value. A
digit in a name (GPT-4, m²) is neither. Values are exact rationals.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

MAX_CHARS = 2_000  # of a longer answer only the end is read: the last number is there
MAX_EXPONENT = 400  # no sensible answer exceeds a double's range

_ODD = "¿"  # replaces \pi, \sqrt{2}, \pm ...: not a number, and the numbers next to it are strays

_SUPERSCRIPTS = str.maketrans("⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "+-0123456789")
_GROUP = r"\{([^{}]*)\}"
_WRAPPED = rf"\\(?:text|math|operator)[a-z]*\s*{_GROUP}|\\(?:mbox|emph|boldsymbol)\s*{_GROUP}"
_PLAIN_FRACTION = re.compile(r"([-+]?)\s*(\d+(?:\.\d+)?)")
_FUNCTION = r"\\?(?:sqrt|pi|log|ln|exp|sin|cos|tan|infty|binom|i?int|sum)(?![A-Za-z])"


def _raised(found: re.Match[str]) -> str:
    return "^" + found[0].translate(_SUPERSCRIPTS)


def _fraction(found: re.Match[str]) -> str:
    sign, *parts = (part for part in found.groups() if part is not None)
    over, under = (_PLAIN_FRACTION.fullmatch(part.strip()) for part in parts)
    if not over or not under:
        return f" {_ODD} "
    minus = (sign, over[1], under[1]).count("-") % 2
    return f"{'-' if minus else '' if sign == '-' else sign or ' '}{over[2]}/{under[2]} "


_Replacement = str | Callable[[re.Match[str]], str]
_FORMS: list[tuple[str, _Replacement]] = [
    (r"[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+", _raised),
    (r"[¼-¾⅐-⅞↉]", lambda found: " " + unicodedata.normalize("NFKC", found[0])),
    (r"(?<=\d)(?:\\,|\\!|\{\\,\}|\\thinspace\b|[\u2009\u202f])+(?=\d{3})", ""),
    (r",\\!\s*(?=\d{3})", ","),
    (r"\\!|\\(?:left|right|displaystyle|[bB]igg?[lr]?)(?![A-Za-z])", ""),
    (r"\\[,;: ]|~|\\q?quad(?![A-Za-z])", " "),
    (r"\{,\}", ","),
    (_WRAPPED, lambda found: " " + (found[1] or found[2] or "")),
    (_WRAPPED, lambda found: " " + (found[1] or found[2] or "")),  # twice, for nested ones
    (r"\$([^$\n]+)\$|\\[(\[](.+?)\\[)\]]", lambda found: found[1] or found[2]),
    (rf"([-+]?)\s*\\[dtc]?frac\s*(?:{_GROUP}|(\d))\s*(?:{_GROUP}|(\d))", _fraction),
    (r"\\(?:times|cdot)(?![A-Za-z])|×|·|∗", "*"),
    (r"\\(?:approx|simeq|sim|equiv|implies|Rightarrow|to)(?![A-Za-z])|≈|≃|⇒|→", "="),
    (r"\\pm(?![A-Za-z])|±|\+/-", _ODD),
    (r"\\([%$#&])", r"\1"),
    (r"\^\s*\{?\s*\\circ\s*\}?", "°"),
    (rf"{_FUNCTION}\s*(?:[_^]?{_GROUP}|\([^()]*\)|\[[^\[\]]*\])*(?:\s?\d[\d.]*)?|[π√∞]\s*\d*", f" {_ODD} "),
    (r"[−‐‑‒–﹣－]", "-"),
    (r"(?<=\d)\*\*(?=[-+({\d])", "^"),
    (r"\*\*|__|`", ""),
    (r"(?<![\d)}\s])\*(?=[-+\d])|(?<=\d)\*(?![\s\d({¿])", ""),  # emphasis
    (r"(^|[=:({])\s*([-+])\s+(?=[\d.$€£¥])", r"\1\2"),
    (r"(?<![\d)}] )\b(?:[Mm]inus|[Nn]egative)\s+(?=[\d.$€£¥])", "-"),
]
_REWRITES = [(re.compile(pattern), replacement) for pattern, replacement in _FORMS]

_LETTER = r"[A-Za-zÀ-ÖØ-öø-\u1fff]"  # of scripts with spaces between words
_CURRENCY = "[$€£¥]"
_WHOLE = (
    r"(?:[1-9]\d{0,2}(?:,\d{3})+|[1-9]\d?(?:,\d{2})+,\d{3}"
    r"|[1-9]\d{0,2}(?P<mark>['’_ ])\d{3}(?:(?P=mark)\d{3})*|\d+)"
)
_GROUPED_COMMA = r"[1-9]\d{0,2}(?:[. ]\d{3})+,\d+"
_COMMA = r"[1-9]\d{0,2}\.\d{3}\.\d{3}|\d+,\d+"
_TO_THE = r"10\s?\^\s?[{(]?\s?(?P<POWER>[-+]?\d+)\s?[)}]?"
_OPERATOR = rf"(?:\s?[-+*/^:×x]\s?|\s(?:to|or)\s|(?=\s?{_ODD}))"
_ATOM = rf"[({{\s]?[-+]?{_CURRENCY}?(?:[\d{_ODD}]|\.\d)[\w.,:/'’{_ODD}]*"
_NOT_AT_ITS_END = (
    rf"(?!\w*\d|[.,:/'’_^]\d|[eE][-+]?\d|\s?[*^]\s?[-+({{\w]|\s?{_ODD}|{_OPERATOR}[-+({{]*(?:\d|\.\d|{_ODD}))"
)
_TOKEN = re.compile(
    rf"""
    (?P<name>{_LETTER}(?:{_LETTER}|[\d_])*(?:\^[{{(]?[-+]?\d+[)}}]?|[-.]\d[\w.]*)*)
  | (?P<number>
        (?P<sign>(?<!{_LETTER})(?<![\d_.)\]}}%{_ODD}])[-+])? (?P<prefix>{_CURRENCY}\s?)? (?P<late>(?<={_CURRENCY})-)?
        (?<!{_LETTER}) (?<![\d_^/,{_ODD}]) (?<![\d)]\.)
        (?: (?:(?P<mixed>\d+)\s)? (?P<over_sign>-)? (?P<over>\d+(?:\.\d+)?)\s?/\s?(?P<under>\d+(?:\.\d+)?)
          | {_TO_THE.replace("POWER", "power")}
          | (?P<value>(?P<grouped>{_GROUPED_COMMA})|{_WHOLE}(?:\.\d+)?|(?P<comma>{_COMMA})|\.\d+)
            (?:[eE](?P<e>[-+]?\d+)(?!\w) | \s?[*x×]\s?{_TO_THE.replace("POWER", "ten")})?
        ) {_NOT_AT_ITS_END}
    )
  | (?P<stray>
        (?:(?<=[\w)\]}}%{_ODD}])[-+*/^]+)?
        (?:{_ODD}\s{{0,2}})*{_CURRENCY}?[\d{_ODD}][\w.,:/'’{_ODD}]*(?:{_OPERATOR}{_ATOM}[)}}]?)*)
    """,
    re.VERBOSE,
)
_UNIT = re.compile(r"[ \t}]*[-\\]?(?P<unit>%|[°º]?\s?[^\W\d_]+(?:\^\d)?(?:[/*][^\W\d_]+(?:\^\d)?)*)?")


@dataclass(frozen=True)
class Numeral:
    """A number or a stray. `value`: None for a stray; `unit`: the word or sign next to it, or "".

    `start`, `end`: its position in the plain text.
    """

    value: Fraction | None
    unit: str
    start: int
    end: int


def plain(text: str) -> str:
    """The end of the text without LaTeX and typographic forms, as input for `numerals`."""
    text = text[-MAX_CHARS:]
    for pattern, replacement in _REWRITES[:3]:
        text = pattern.sub(replacement, text)
    text = unicodedata.normalize("NFKC", text.translate({ord("⁄"): "/"})).replace("⁄", "/")
    for pattern, replacement in _REWRITES[3:]:
        text = pattern.sub(replacement, text)
    return text


def numerals(text: str) -> list[Numeral]:
    """The numbers and strays of a plain text, in order."""
    found = []
    for token in _TOKEN.finditer(text):
        if token["number"]:
            after = _UNIT.match(text, token.end())
            unit = (token["prefix"] or (after and after["unit"]) or "").strip()
            found.append(Numeral(_value(token), unit, token.start(), token.end()))
        elif token["stray"]:
            found.append(Numeral(None, "", token.start(), token.end()))
    return found


def _value(found: re.Match[str]) -> Fraction | None:
    try:
        if found["under"]:
            size = Fraction(found["over"]) / Fraction(found["under"]) + int(found["mixed"] or 0)
        else:
            exponent = int(found["e"] or found["ten"] or found["power"] or 0)
            if abs(exponent) > MAX_EXPONENT:
                return None
            comma = found["grouped"] or found["comma"]
            digits = re.sub("[. ]", "", comma).replace(",", ".") if comma else found["value"] or "1"
            size = Fraction(re.sub("[,'’_ ]", "", digits)) * Fraction(10) ** exponent
    except (ValueError, ZeroDivisionError):  # int() refuses thousands of digits
        return None
    minus = [found[name] == "-" for name in ("sign", "late", "over_sign")]
    return -size if sum(minus) % 2 else size
