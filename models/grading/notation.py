r"""Parser of mathematical text, plain or LaTeX, into bounded expressions.

It is a recursive descent over a fixed grammar and evaluates nothing as code (sympy's own `parse_expr` and `sympify` use
`eval`). It reads + - * / ^ **, implicit multiplication, \frac (2\frac{1}{2} is a mixed number), \sqrt[n], functions and
their powers (sin^2 x), |x|, n!, percent, subscripts, Greek letters, pi, e, i, \infty.
"""

from __future__ import annotations

import re

from models.grading.expression import (
    CONSTANTS,
    FUNCTIONS,
    RECIPROCALS,
    Node,
    Refused,
    Unreadable,
    add,
    apply,
    constant,
    factorial,
    multiply,
    negative,
    number,
    power,
    reciprocal,
    symbol,
)

MAX_CHARS, MAX_DEPTH = 500, 40

_INVERSES = {"sin": "asin", "cos": "acos", "tan": "atan"}
_NAMES = {  # in addition to single letters; infinity is a symbol, so that intervals can be compared
    *("frac", "infty", "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"),
    *("lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "phi", "chi", "psi", "omega"),
}
_FUNCTIONS = {*FUNCTIONS, *RECIPROCALS}
_KNOWN = {*_FUNCTIONS, *CONSTANTS, *_NAMES}
_CLOSING = {"(": ")", "{": "}", "[": "]", "|": "|"}
_TOKEN = re.compile(
    r"\s*(?:((?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+(?!\w))?)|(\\?[A-Za-z]+)((?:_(?:\w|\{\w+\}))?)|(\*\*|[-+*/^(){}\[\]|!%]))",
    re.ASCII,
)
_SPACING: list[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"(?<=[\d}])\s*(?:percent(?:age)?|pct)\b", r"\\%"),
        (r"\\(?:textbf|textit|textrm|textnormal|mbox)(?![A-Za-z])", r"\\text"),
        (r"(?<=\d)(?:\\[,!]|\{,\}|\{\\[,!]\}|[\u2009\u202f])+(?=\d{3}(?!\d))", ""),
        (r",\\!\s*(?=\d{3}(?!\d))", ","),
        (r"\{,\}|\\!", ""),
        (r"\\(?:left|right|displaystyle|textstyle|limits|[bB]igg?[lr]?)(?![A-Za-z])", " "),
        (
            r"\\(?:q?quad|thinspace|enspace|hspace\s*\{[^{}]*\}|phantom\s*\{[^{}]*\})(?![A-Za-z])|(?<!\\)\\[,;:> ]|~",
            " ",
        ),
        (r"\\?[$]|(?<!\\)\\(?=[()\[\]])", " "),
        (r"[±]|\+/-", r"\\pm "),
        (r"[\u00a0\u2007]", " "),
        (r"[−–‐‑]", "-"),
    ]
]
_LONE_NUMBER = re.compile(r"\s*[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?\s*|\s*[-+]?\d{1,3}(?: \d{3})+(?:\.\d+)?\s*")
_REWRITES: list[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"\\(?:mathrm|mathbf|boldsymbol|mathit|text)\s*\{(\w|[\d.,]+)\}", r" \1 "),
        (r"\\(?:text|mathrm|mbox)\s*\{[^{}]*\}(?:\s*\^\s*(?:\{\s*-?\d\s*\}|-?\d))?", " "),  # a unit
        (r"\\[lr]?vert(?![A-Za-z])", "|"),
        (r"\\operatorname\s*\{(\w+)\}", r"\\\1 "),
        (r"∞|(?<![A-Za-z])oo(?![A-Za-z])", r"\\infty "),
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"(?<![\w.])(\d+)\s*\\frac\s*\{(\d+)\}\s*\{(\d+)\}", r"(\1+\2/\3)"),
        (r"\\sqrt\s*(\w)", r"\\sqrt{\1}"),
        (r"\\(?:cdot|times)(?![A-Za-z])|[×·∗]", "*"),
        (r"\\div(?![A-Za-z])|÷", "/"),
        (r"\^\s*\{?\\circ\}?|°", " "),
        (r"√", r"\\sqrt "),
        (r"π", r"\\pi "),
        (r"−|–", "-"),
        (r"²", "^2"),
        (r"³", "^3"),
        (r"\\%", "%"),
        (r"(?<=\d),(?=\d{3})", ""),  # lists have been split at their commas before
    ]
]


def plain(text: str) -> str:
    """The text without LaTeX spacing and without the separators of a lone number: remaining commas separate values."""
    for pattern, replacement in _SPACING:
        text = pattern.sub(replacement, text)
    text = text.strip()
    return re.sub("[, ]", "", text) if _LONE_NUMBER.fullmatch(text) else text


def read(text: str) -> Node:
    """Parse a text as an expression. Raises Unreadable."""
    for pattern, replacement in _REWRITES:
        if len(text) > MAX_CHARS:
            raise Refused("too long")
        text = pattern.sub(replacement, text)
    tokens = _tokens(text)
    if any(token[1] == "infty" for token in tokens) and len([t for t in tokens if t[0] not in ("+", "-")]) > 1:
        raise Refused("infinity in an expression")
    reader = _Reader(tokens)
    try:
        node = reader.sum()
    except RecursionError:
        raise Refused("too deep") from None
    except (ArithmeticError, TypeError) as error:
        raise Unreadable(str(error)) from None
    if reader.kind:
        raise Unreadable(f"unexpected {reader.token!r}")
    if all(value is None for value in node.values):
        raise Refused("undefined")
    return node


def _tokens(text: str) -> list[tuple[str, str, str]]:
    """The tokens as (kind, text, subscript); the kind is `number`, `name`, or the sign itself."""
    tokens, position, text = [], 0, text.rstrip().rstrip(".")
    while position < len(text):
        found = _TOKEN.match(text, position)
        if not found:
            raise Unreadable(f"cannot read {text[position : position + 20]!r}")
        position = found.end()
        digits, name, subscript, sign = found.groups()
        if digits:
            tokens.append(("number", digits, ""))
        elif name:
            tokens += _names(name, subscript.strip("_{}"))
        else:
            tokens.append(("^" if sign == "**" else sign, sign, ""))
    return tokens


def _names(name: str, subscript: str) -> list[tuple[str, str, str]]:
    command, name = name[0] == "\\", name.lstrip("\\")
    if name in _KNOWN or (len(name) == 1 and not command):
        return [("name", name, subscript)]
    if command or len(name) > 3:
        raise Unreadable(f"unknown name {name!r}")
    return [("name", letter, "") for letter in name[:-1]] + [("name", name[-1], subscript)]


class _Reader:
    """The recursive-descent parser. `kind`: of the next token, "" at the end."""

    def __init__(self, tokens: list[tuple[str, str, str]]) -> None:
        self._tokens, self._at, self._depth = tokens, 0, 0

    @property
    def kind(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    @property
    def token(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else "end"

    def take(self, *kinds: str) -> bool:
        if self.kind in kinds:
            self._at += 1
            return True
        return False

    def expect(self, kind: str) -> None:
        if not self.take(kind):
            raise Unreadable(f"{kind!r} expected, not {self.token!r}")

    def sum(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Refused("too deep")
        node = self.product()
        while self.kind in ("+", "-"):
            minus = self.kind == "-"
            self._at += 1
            term = self.product()
            node = add(node, negative(term) if minus else term)
        self._depth -= 1
        return node

    def product(self) -> Node:
        node, last = self.signed(), ""
        while True:
            if self.take("*"):
                node = multiply(node, self.signed())
            elif self.take("/"):
                node = multiply(node, reciprocal(self.signed()))
            elif self.kind in ("name", "(", "{", "[") or (self.kind == "number" and last == "name"):
                node = multiply(node, self.power())
            else:
                return node
            last = self._tokens[self._at - 1][0]

    def signed(self) -> Node:
        if self.take("-"):
            return negative(self.signed())
        self.take("+")
        return self.power()

    def power(self) -> Node:
        return self.raised(self.atom())

    def raised(self, base: Node) -> Node:
        while self.kind in ("!", "%"):
            base = factorial(base) if self.take("!") else multiply(base, self._percent())
        return power(base, self.signed()) if self.take("^") else base

    def _percent(self) -> Node:
        self.expect("%")
        return reciprocal(number(100))

    def atom(self) -> Node:
        kind, token, subscript = self._tokens[self._at] if self.kind else ("", "", "")
        self._at += 1
        if kind == "number":
            return number(token)
        if kind in _CLOSING:
            node = self.sum()
            self.expect(_CLOSING[kind])
            return apply("abs", node) if kind == "|" else node
        if kind == "name":
            return self.named(token, subscript)
        raise Unreadable(f"a value expected before {token or 'the end'!r}")

    def named(self, name: str, subscript: str) -> Node:
        if name == "frac":
            over, under = self.atom(), self.atom()
            return multiply(over, reciprocal(under))
        if name in _FUNCTIONS:
            return self.function(name, subscript)
        if name in CONSTANTS and not subscript:
            return constant(*CONSTANTS[name])
        return symbol(f"{name}_{subscript}" if subscript else name)

    def function(self, name: str, subscript: str) -> Node:
        exponent = None
        if name == "sqrt" and self.take("["):
            index = self.sum()
            self.expect("]")
            return power(self.atom(), reciprocal(index))
        if self.take("^"):
            exponent = self.signed() if self.kind == "-" else self.atom()
            if exponent.expr == -1 and name in _INVERSES:
                name, exponent = _INVERSES[name], None
        node = apply(name, self.argument())
        if name == "log" and subscript:
            node = multiply(node, reciprocal(apply("log", read(subscript))))
        return node if exponent is None else power(node, exponent)

    def argument(self) -> Node:
        """A function's argument: in brackets, or the product up to the next sign, bracket or function (sin 2x)."""
        if self.kind in _CLOSING:
            return self.atom()
        node = self.power()
        while self.kind == "name" and self.token not in _FUNCTIONS:
            node = multiply(node, self.power())
        return node
