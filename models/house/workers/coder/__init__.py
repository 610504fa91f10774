"""What `coder` does beyond text: it calls tools, and returns JSON by schema, for what a small program can read.

Deterministic: a tool is chosen by the words that it shares with the question, arguments and values are found in the
text. What is not stated there is not made up; the exception is a required choice of a tool, whose first value is taken.
"""

from models.house.workers.coder.shaping import FIELDS, WORKER, Call, shaped

__all__ = ["FIELDS", "WORKER", "Call", "shaped"]
