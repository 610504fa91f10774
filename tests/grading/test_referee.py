import signal
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


def test_it_outlives_the_thread_that_started_it(monkeypatch):
    monkeypatch.setattr(referee, "_process", None)
    thread = threading.Thread(target=referee.same, args=(r"x \le 5", r"5 \ge x"))
    thread.start()
    thread.join()
    process = referee._process
    assert referee.same(r"x \le 5", r"5 \ge x") and referee._process is process
    process.end()


def test_a_process_that_was_killed_is_replaced_without_losing_the_question():
    assert referee.same(r"x \le 5", r"5 \ge x")
    referee._process.process.kill()
    referee._process.process.wait()
    assert referee.same(r"x \le 5", r"5 \ge x")


def test_a_computation_that_nobody_waits_for_ends_itself(monkeypatch):
    monkeypatch.setattr(referee, "_ANSWER_S", -0.7)  # plus its margin of 1 s
    process = referee._Process()
    process.process.stdin.write(b'["9^{9^{9^9}}", "2"]\n')
    assert process.process.wait(60) == -signal.SIGALRM
    process.end()


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
