"""More requests than may be under way are refused at once, in words; the others are answered, and so are the probes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

HELLO = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize("stream", [False, True])
def test_one_request_too_many_gets_a_503_at_once(house, upstream, stream):
    with house(fugu={"kind": "worker", "worker": "stall" if stream else "silent"}, max_requests=1) as here:

        def ask():
            answer = here.client.chat.completions.create(model="fugu", messages=HELLO, stream=stream)
            return "".join(chunk.choices[0].delta.content or "" for chunk in answer) if stream else answer

        with ThreadPoolExecutor() as pool:
            first = pool.submit(ask)
            assert upstream.arrived.wait(10)
            with pytest.raises(openai.InternalServerError, match="under way") as refused:
                ask()
            assert refused.value.status_code == 503 and refused.value.response.headers["Retry-After"] == "1"
            assert here.raw.get("/readyz").status_code == 200
            upstream.released.set()
            assert first.result()
