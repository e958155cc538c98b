"""Requests made up from the OpenAPI document, right and wrong ones, against a real small model."""

import hypothesis
import pytest
import schemathesis
import torch
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance

from lmwright.engine.llm import LLM
from lmwright.serving.model import Loaded
from tests.serving.small import small_model

REQUIRED = {"model", "messages", "prompt", "input", "tokens"}
CHECKS = [not_a_server_error, response_schema_conformance]
SETTINGS = hypothesis.settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # a failure is small enough as it is
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)


@pytest.fixture(scope="module")
def server(server_context):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    # A short context: most requests that are made up do not limit their answers.
    engine = LLM.from_model(*small_model(context=64), max_sequences=8)
    with server_context(lambda: Loaded(engine)) as server:
        yield server
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_request_makes_the_server_fail(server, mode):
    document = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    seen: dict[str, set[int]] = {}
    for result in document.get_all_operations():
        operation = result.ok()
        statuses = seen.setdefault(operation.label, set())

        @SETTINGS
        @hypothesis.given(case=_cases(operation, mode), data=st.data())
        def check(case, data):
            if isinstance(case.body, dict) and "model" in case.body:
                # A name that is made up is refused before anything else is looked at.
                case.body["model"] = "tiny"
                if mode is GenerationMode.POSITIVE:
                    _leave_out(case.body, data)
            response = case.call(timeout=60)
            statuses.add(response.status_code)  # noqa: B023  called before the loop goes on
            case.validate_response(response, checks=CHECKS)

        check()
    if mode is GenerationMode.POSITIVE:
        for label in ("POST /v1/chat/completions", "POST /v1/completions", "POST /tokenize"):
            assert 200 in seen[label], f"{label}: nothing was answered"
    assert server.worker.state == "ready"


def _leave_out(body, data):
    """Keep a few optional fields: of all at once some two always contradict each other."""
    optional = sorted(body.keys() - REQUIRED)
    kept = data.draw(st.sets(st.sampled_from(optional), max_size=3)) if optional else set()
    for name in optional:
        if name not in kept:
            del body[name]
    if "messages" in body and data.draw(st.booleans()):
        # Which fields a role needs is more than the document says.
        body["messages"] = [{"role": "user", "content": "Hi"}]


def _cases(operation, mode):
    """Right requests, or wrong ones where a wrong one can be made."""
    wrong = mode is GenerationMode.NEGATIVE and operation.method == "post"
    return operation.as_strategy(mode if wrong else GenerationMode.POSITIVE)
