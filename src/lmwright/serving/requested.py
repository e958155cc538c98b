"""From the fields of a request to the engine's parameters."""

from typing import Any

from lmwright.core.errors import LmwrightError
from lmwright.engine.params import Constraint, SamplingParams
from lmwright.serving import tools
from lmwright.serving.errors import ApiError
from lmwright.serving.model import Served
from lmwright.serving.protocol import (
    ChatCompletionRequest,
    CompletionRequest,
    GenerationRequest,
)
from lmwright.serving.wire import json_text

# What OpenAI's reference gives a completion that does not say; a chat may use all the room left.
COMPLETION_TOKENS = 16

# Fields that go to the engine under their own names, where they are given.
_SAME = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "min_tokens",
    "stop_token_ids",
    "ignore_eos",
    "priority",
)


def of_chat(
    body: ChatCompletionRequest, index: int, served: Served, adapter: str | None
) -> SamplingParams:
    """The parameters of one answer in a conversation.

    Raises:
        LmwrightError: if the engine has no such values.
    """
    return SamplingParams(
        **_common(body, index, served, adapter),
        max_tokens=body.max_completion_tokens or body.max_tokens or served.context_length,
        logprobs=bool(body.logprobs),
        top_logprobs=body.top_logprobs or 0,
        constraint=tools.constraint(body) or _format(body),
    )


def of_completion(
    body: CompletionRequest, index: int, served: Served, adapter: str | None
) -> SamplingParams:
    """The parameters of one answer that goes on from a text.

    Raises:
        LmwrightError: if the engine has no such values.
    """
    most = COMPLETION_TOKENS if body.max_tokens is None else body.max_tokens
    scored = bool(body.echo) and (body.logprobs is not None or most == 0)
    return SamplingParams(
        **_common(body, index, served, adapter),
        max_tokens=most,
        logprobs=body.logprobs is not None,
        top_logprobs=body.logprobs or 0,
        prompt_logprobs=scored,
        constraint=_format(body),
    )


def _common(
    body: GenerationRequest, index: int, served: Served, adapter: str | None
) -> dict[str, Any]:
    """What both kinds of request have in common; each answer gets a seed of its own."""
    default = served.sampling
    values: dict[str, Any] = {
        "temperature": default.temperature,
        "top_p": default.top_p,
        "top_k": default.top_k,
        "stop": body.stops(),
        "seed": None if body.seed is None else body.seed + index,
        "adapter": adapter,
        "logit_bias": {int(token): bias for token, bias in (body.logit_bias or {}).items()},
    }
    given = {name: getattr(body, name) for name in _SAME}
    return values | {name: value for name, value in given.items() if value is not None}


def _format(body: GenerationRequest) -> Constraint | None:
    wanted = body.response_format
    if wanted is None or wanted.type == "text":
        return None
    if wanted.json_schema is None:
        return Constraint("json_object")
    return Constraint("json_schema", json_text(wanted.json_schema.json_schema))


def check_tokens(body: GenerationRequest, tokenizer: Any) -> None:
    """Refuse ids that are no tokens of this model.

    Raises:
        ApiError: 400 if there are any.
    """
    last = tokenizer.vocab_size - 1
    for name, ids in (
        ("logit_bias", map(int, body.logit_bias or ())),
        ("stop_token_ids", body.stop_token_ids or ()),
    ):
        if any(token_id > last for token_id in ids):
            raise ApiError(
                400,
                f"{name}: this model's tokens are 0 .. {last}",
                param=name,
                code="invalid_value",
            )


def param_of(error: LmwrightError, body: GenerationRequest) -> str | None:
    """The field that the engine complains about: its complaints begin with the name."""
    name = error.what.partition("=")[0].partition(" ")[0]
    return name if name in type(body).model_fields else None


def noted(body: GenerationRequest) -> dict[str, Any]:
    """What of a request its log line and its span say: numbers and choices, no texts."""
    names = ("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "seed")
    most = getattr(body, "max_completion_tokens", None) or body.max_tokens
    fields = {"stream": bool(body.stream), "n": body.n, "max_tokens": most}
    return fields | {name: getattr(body, name) for name in names}
