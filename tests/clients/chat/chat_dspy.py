# /// script
# dependencies = ["dspy"]
# ///
"""DSPy: a prediction, and an agent with a tool."""

import dspy
from telling import API_KEY, BASE_URL, tell

lm = dspy.LM("openai/fugu", api_base=BASE_URL, api_key=API_KEY, cache=False, num_retries=0)


def plain() -> None:
    """a language model's call"""
    assert lm("hello") == ["You said: hello"], lm.history[-1]


def several() -> None:
    """three answers of one call"""
    assert lm("hello", n=3, temperature=1.0) == ["You said: hello"] * 3


def predicted() -> None:
    """a prediction by its chat adapter"""
    with dspy.context(lm=lm):  # the worker repeats what it is told
        found = dspy.Predict("question -> answer")(question="[[ ## answer ## ]]\nAda\n\n[[ ## completed ## ]]")
    assert found.answer.startswith("Ada"), found


if __name__ == "__main__":
    tell("DSPy", "dspy", plain, several, predicted)
