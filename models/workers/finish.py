"""Finish reasons: the words of many providers mapped to OpenAI's; any other word means that the worker failed."""

from __future__ import annotations

_WORDS = {
    "stop": "stop end end_turn pause_turn stop_sequence stop_token stop_str eos eos_token complete completed done "
    "finished",
    "length": "length max_tokens max_length max_output_tokens model_length context_length "
    "context_length_exceeded model_context_window_exceeded compaction",
    "tool_calls": "tool_calls tool_call tool_use function_call",
    "content_filter": "content_filter content_filtered refusal safety recitation language blocklist prohibited_content "
    "spii sensitive guardrail_intervened error_toxic image_safety image_prohibited_content image_recitation",
}
_KNOWN = {word: meaning for meaning, words in _WORDS.items() for word in words.split()}


def finish_of(word: object) -> str | None:
    """`stop`, `length`, `tool_calls` or `content_filter`; `None` for a word that means a failure."""
    return _KNOWN.get(word.strip().lower().replace("-", "_")) if isinstance(word, str) else None
