"""Mending by generating and testing: what comes out makes the file's own examples true, and nothing is executed."""

import doctest
import types

import pytest

from models.fugu.roles import Role, messages_for
from models.grading.repository import load_tasks
from models.house.workers import answer
from models.house.workers.files import read, stated
from models.house.workers.mending import faulty, mended
from tasks.setup.settings import PROJECT

FAULTS = {
    "a comparison": ("n < low", "n <= low"),
    "an operator": ("high - low", "high + low"),
    "a constant": ("range(1, n", "range(2, n"),
    "min for max": ("max(", "min("),
    "arguments in the wrong order": ("share(high, low)", "share(low, high)"),
    "a name": ("return low\n", "return high\n"),
    "and for or": ("n < low or", "n < low and"),
    "one too few": ("n + 1)", "n)"),
}
FILE = '''"""Some functions."""

LEAST = 0


def clamp(n, low, high):
    """The nearest number within bounds.

    >>> clamp(5, 1, 3), clamp(0, 1, 3), clamp(2, 1, 3), clamp(1, 1, 1), clamp(-4, -2, 0)
    (3, 1, 2, 1, -2)
    """
    if n < low or low > high:
        return low
    return min(max(n, low), high)  # within


def width(low, high):
    """
    >>> width(2, 7), width(3, 3)
    (5, 0)
    """
    return high - low


def total(n):
    """
    >>> total(4), total(1), total(0)
    (10, 1, 0)
    """
    result = LEAST
    for i in range(1, n + 1):
        result += i
    return result


def share(part, whole):
    """
    >>> share(1, 4)
    25.0
    """
    return 100 * part / whole


def larger(low, high):
    """
    >>> larger(2, 8)
    400.0
    """
    return share(high, low)
'''


def fails(text):
    """How many doctests of the file fail, by Python itself."""
    module = types.ModuleType("file")
    exec(compile(text, "file.py", "exec"), module.__dict__)
    runner = doctest.DocTestRunner(verbose=False)
    for test in doctest.DocTestFinder().find(module, "file"):
        runner.run(test, out=lambda text: None)
    return runner.failures


def test_there_is_nothing_to_mend_in_a_right_file():
    assert fails(FILE) == 0 and faulty(FILE) is None and read(f"### a.py\n```\n{FILE}```") is None


@pytest.mark.parametrize("fault", FAULTS)
def test_a_small_fault_is_mended(fault):
    right, wrong = FAULTS[fault]
    broken = FILE.replace(right, wrong, 1)
    if not fails(broken):
        pytest.skip("its examples do not see this fault")
    name = faulty(broken)
    assert name is not None
    fixed, *slips = mended(broken, name)
    assert fails(fixed) < fails(broken) and "# within" in fixed
    assert all(fails(slip) for slip in slips)


def test_a_fault_that_takes_two_changes_in_one_function_stays():
    text = 'def f(a, b):\n    """\n    >>> f(1, 2), f(5, 3), f(0, 0)\n    (503, 1509, 7)\n    """\n    return a - b\n'
    assert faulty(text) == "f"
    with pytest.raises(ValueError, match="no small change"):
        mended(text, "f")


@pytest.mark.parametrize(
    "body",
    [
        "return open('/etc/passwd').read()",
        "import os\n    return os.getcwd()",
        "return ().__class__",
        "while True: n = 1",
    ],
)
def test_nothing_but_the_small_language_is_run(body):
    text = f'def f(n):\n    """\n    >>> f(1)\n    2\n    """\n    {body}\n'
    assert faulty(text) == "f"
    with pytest.raises(ValueError, match="no small change"):
        mended(text, "f")


def test_two_faulty_functions_take_two_replies():
    broken = FILE.replace("high - low", "high + low").replace("range(1, n", "range(2, n")
    once = mended(broken, faulty(broken))[0]
    twice = mended(once, faulty(once))[0]
    assert faulty(once) == "total" and fails(twice) == 0


def test_a_table_is_filled_from_the_almanac():
    text = "### c.csv\n```\ncountry,capital\nPeru,?\nFrance,Paris\nChile,?\n```"
    assert read(text).solve() == "### c.csv\n```\ncountry,capital\nPeru,Lima\nFrance,Paris\nChile,Santiago\n```"
    with pytest.raises(ValueError, match="Atlantis"):
        read(text.replace("Peru", "Atlantis")).solve()


def test_a_verifier_compares_the_files():
    task = next(t for t in load_tasks(PROJECT / "data" / "repositories") if t.id == "fines")
    conversation = list(task.question.messages)
    reply = answer("coder", conversation)
    assert stated(reply) in reply and "min(cents, MOST)" in reply
    for proposed, word in ((reply, "ACCEPT"), (reply.replace("min(", "max("), "REJECT"), ("No idea.", "REJECT")):
        messages = messages_for(Role.VERIFIER, conversation, latest=proposed)
        assert answer("coder", messages).startswith(word)


def test_who_lacks_the_skill_states_no_file():
    for task in load_tasks(PROJECT / "data" / "repositories"):
        for worker in ("calc", "units", "lingua"):
            assert stated(answer(worker, task.question.messages, 1)) is None
