import pytest

from models.house.workers.snippets import output_of, read


@pytest.mark.parametrize(
    ("program", "printed"),
    [
        ("x = 3\nfor i in range(4):\n    x = x * 2 + i\nprint(x)", "59"),
        ("print([n for n in [3, 6, 8] if n % 3 == 0])", "[3, 6]"),
        ("print('stone'[::-1], len('stone'))", "enots 5"),
        ("n = 45\nwhile n > 4:\n    n = n // 2\nprint(n)", "2"),
        (
            "t = 0\nfor v in [5, 6]:\n    if v > 5 and not v == 9:\n        t += v\n    else:\n        t = 0\nprint(t)",
            "6",
        ),
        ("print(sorted([3, 1, 2], reverse=True)[0:2])", "[3, 2]"),
        ("a = []\na.append(2 ** 10)\nprint(a, -7 % 3, 7 / 2, 2 in a)", "[1024] 2 3.5 False"),
    ],
)
def test_prints_what_python_prints(program, printed):
    assert output_of(program) == printed


@pytest.mark.parametrize(
    "program",
    [
        "import os\nprint(os.getcwd())",
        "print(open('/etc/passwd').read())",
        "print(''.__class__.__mro__)",
        "print('{0.__class__}'.format(1))",
        "while 1 > 0:\n    x = 1\nprint(x)",
        "print(9 ** 9 ** 9 ** 9)",
        "print([0] * 10 ** 9)",
        "print(10 ** 9 * [0])",
        "x = 'aa'\nfor i in range(90):\n    x = x + x\nprint(x)",
        "print('%1000000000d' % 1)",
        "print(range(10 ** 12))",
        "print([[a for a in range(9999)] for b in range(9999)])",
        "print(eval('1'))",
        "print(1 / 0)",
        "print([1][5])",
        "print(undefined)",
        "def f(): pass\nprint(1)",
        "print(1",
    ],
)
def test_a_program_outside_of_the_small_language_is_refused(program):
    with pytest.raises((ValueError, ArithmeticError)):
        output_of(program)


def test_the_program_is_found_in_the_question():
    problem = read("Run this in your head and tell me:\nx = 2\nprint(x * 21)\nWhat appears on the screen?")
    assert problem.kind == "snippet" and problem.solve() == "42"
    assert read("What does the word print mean?") is None
