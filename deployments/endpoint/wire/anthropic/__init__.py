"""Anthropic's Messages API as a wire format: `POST /v1/messages`, `/v1/messages/count_tokens`, and its list of models.

schema     the types of the `anthropic` package, as what a request is checked against
request    a body -> the fields of a `Question`; with history.py (messages) and tools.py
answer     a `Result`, or deltas -> a message, whole or as Anthropic's events
errors     a `Problem` -> Anthropic's shape of an error
counting   an estimate of a request's tokens
format     the wire format itself; schema.py is imported with the first request, since it takes two seconds
"""
