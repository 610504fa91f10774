"""One stack for every model and every wire format.

    wire format (wire/chat.py)     request body -> `Question`; `Result` and deltas -> body, chunks, errors
    stack (stack.py)               whole or stream, heartbeats, disconnects, trace, headers, log line: exist here only
    route (routed.py, conducted.py)  `Question` -> `Result`: through the router's loop (`fugu`, `trinity`) or through
                                   a request run (`fugu-ultra`, whose runs are kept in jobs.py)

To add a wire format: write a class with the methods of `format.WireFormat` in wire/, which parses a body into a
`Question` and renders a `Result`, deltas and problems; then serve `stack.serve(TheFormat())` at its path in app.py
and describe it in wire/openapi.py. No route and nothing in stack.py changes. To add a model: write a route.
"""
