"""schemathesis over /openapi.json: generated requests of every operation never bring a 5xx, and answers are as described."""
import os

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import CHECKS

EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "30"))
WANTED = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")
SMALL = {"max_tokens": 8, "max_new_tokens": 8, "max_completion_tokens": 8}


def bound(case):
    """Makes the work small: what is tested is the protocol."""
    if not isinstance(case.body, dict):
        return
    for field, most in SMALL.items():
        if isinstance(case.body.get(field), int) and case.body[field] > most:
            case.body[field] = most
    if isinstance(case.body.get("timeout"), (int, float)) and 0 < case.body["timeout"] < 10:
        case.body["timeout"] = 10  # else 504 is the right answer
    if "messages" in case.body and not set(SMALL) & set(case.body):
        case.body["max_tokens"] = SMALL["max_tokens"]


def test_operations(server, subtests):
    schema = schemathesis.openapi.from_url(server.url + "/openapi.json")
    checks = [check for check in CHECKS.get_all() if check.__name__ in WANTED]
    assert len(checks) == len(WANTED)
    seen = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        statuses = {}

        @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
                  phases=(Phase.explicit, Phase.generate), suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def run(case):
            bound(case)
            answer = case.call(timeout=60)
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
            case.validate_response(answer, checks=checks)

        with subtests.test(operation.label):
            run()
        seen += 1
        print(operation.label, statuses)
    assert seen >= 10


def test_server_is_whole(server):
    assert server.alive() and server.wait_idle(10) is not None
