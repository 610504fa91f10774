import threading

import pytest

from models.grading import referee

pytestmark = pytest.mark.usefixtures("isolated")


@pytest.mark.parametrize(
    "text", ["", "hello", r"\pmod 5", r"\foo", "101_2", "nan", r"\text{nan}", "x" * 501, "f.__class__", "π"]
)
def test_what_the_library_would_misread_is_kept_from_it(text):
    assert not referee.fit(text) and referee.same(text, text) is None


def test_threads_get_answers_to_their_own_questions():
    answers = {}

    def ask(limit):
        answers[limit] = [referee.same(r"x \le 5", rf"{limit} \ge x") for _ in range(3)]

    threads = [threading.Thread(target=ask, args=(limit,)) for limit in (4, 5, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {4: [False] * 3, 5: [True] * 3, 6: [False] * 3}


def test_a_text_that_takes_too_long_is_undecided_and_the_next_one_is_not(monkeypatch):
    assert referee.same(r"x \le 5", r"5 \ge x")
    monkeypatch.setattr(referee, "_ANSWER_S", 0.3)
    assert referee.same("9^{9^{9^9}}", "2") is None
    monkeypatch.undo()
    assert referee.same(r"x \le 5", r"5 \ge x")


def test_without_isolation_it_gives_no_opinion(monkeypatch):
    monkeypatch.setattr(referee, "_process", None)
    monkeypatch.setattr(referee.seccomp, "program", lambda: b"\0" * 8)  # the kernel refuses it: no return
    assert referee.same("x", "x") is None
