"""How schemathesis is run on the endpoint's published document, in the suite and in the benchmark."""

from __future__ import annotations

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
)

HOOKS = '''
import schemathesis

@schemathesis.hook
def map_body(context, body):
    """Models that are there, most of the time: nearly every other name is a 404. One that is too long stays so."""
    served = ("fugu", "trinity", "fugu-ultra", "fugu")
    if isinstance(body, dict) and isinstance(name := body.get("model"), str) and len(name) <= 512:
        body["model"] = (*served, name)[len(name) % 5]
        earlier = body.get("previous_response_id")
        if isinstance(earlier, str) and len(earlier) <= 512 and len(name) % 5 < 4:
            del body["previous_response_id"]  # there is hardly ever such a one
    return body
'''
"""In the file `hooks.py` of its folder, and named by SCHEMATHESIS_HOOKS."""

OPTIONS = ["--checks", ",".join(CHECKS), "--suppress-health-check", "all", "--generation-allow-x00", "false"]
