"""One stack for every model and every wire format.

    wire format  wire/chat.py             request body -> `Question`; `Result` and deltas -> body, chunks, errors
    stack        stack.py                 whole or stream, heartbeats, disconnects, trace, headers, log line
    route        routed.py, conducted.py  `Question` -> `Result`: through the router's loop (`fugu`, `trinity`), or
                                          through a request run (`fugu-ultra`; jobs.py has those under way)

To add a wire format: write a class with the members of `format.WireFormat` in wire/, add it to `wire_formats` in
wire/formats.py and to wire/openapi.py; no route and nothing in stack.py changes. To add a model: write a class with the
members of `result.Answering` and give it a name in app.py.
"""
