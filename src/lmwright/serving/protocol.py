"""Requests of OpenAI's chat completions and completions, as far as they are honoured.

Every field is honoured, or refused with its name; a field that a client sends at the value that
asks for nothing (`"tools": []`, `"frequency_penalty": 0`, null) is accepted. Source: OpenAI's API
reference, "Chat Completions" and "Completions"; `top_k` is vLLM's extension.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

# Known fields of the API that this server does not have, each with the values that ask for
# nothing. "tool_choice" and the like only mean something beside tools, which are refused.
NEUTRAL: Mapping[str, tuple[JsonValue, ...]] = {
    "audio": (),
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "min_p": (0,),
    "modalities": (["text"],),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "presence_penalty": (0,),
    "reasoning_effort": ("none",),
    "repetition_penalty": (1,),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
    "verbosity": (),
    "web_search_options": (),
}

# What the official client's own answers carry when they are sent back as history.
NEUTRAL_IN_MESSAGE: Mapping[str, tuple[JsonValue, ...]] = {
    "annotations": ([],),
    "audio": (),
    "function_call": (),
    "name": (),
    "reasoning_content": (),
    "refusal": (),
    "tool_calls": ([],),
}


def without_neutral(body: Any, neutral: Mapping[str, tuple[JsonValue, ...]]) -> Any:
    """Drop known unsupported fields that ask for nothing; refuse those that ask for something."""
    if not isinstance(body, dict):
        return body
    for name in neutral.keys() & body.keys():
        value = body[name]
        if value is not None and not any(_same(value, allowed) for allowed in neutral[name]):
            raise PydanticCustomError(
                "unsupported", "this server does not support this field", {"field": name}
            )
    return {name: value for name, value in body.items() if name not in neutral}


def _same(value: JsonValue, allowed: JsonValue) -> bool:
    # Python's True == 1 is not JSON's.
    return value == allowed and isinstance(value, bool) == isinstance(allowed, bool)


def _unicode(text: str) -> str:
    # JSON can spell half a surrogate pair, which no encoding and no tokenizer can carry.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise PydanticCustomError("unicode", "holds half of a surrogate pair") from None
    return text


def _one_of(expected: str) -> WrapValidator:
    """One complaint about a union in place of one for each of its members."""

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            if any(part["type"] == "unicode" for part in error.errors()):
                raise PydanticCustomError("unicode", "holds half of a surrogate pair") from None
            raise PydanticCustomError(
                "one_of", "should be {expected}", {"expected": expected}
            ) from None

    return WrapValidator(validate)


Text = Annotated[str, AfterValidator(_unicode)]
StopText = Annotated[str, AfterValidator(_unicode), Field(min_length=1, max_length=256)]
TokenId = Annotated[int, Field(ge=0)]


class Wire(BaseModel):
    """A frozen part of the protocol: JSON's own types, no conversion, no unknown fields."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


class TextPart(Wire):
    """A piece of a message's content; text is the only kind this server reads."""

    type: Literal["text"]
    text: Text


class Message(Wire):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    """Who speaks; `developer` is read as `system`."""
    content: Annotated[
        Text | list[TextPart],
        _one_of("a string or a list of text parts; images, audio and files are not supported"),
    ]
    """What is said."""

    @model_validator(mode="before")
    @classmethod
    def _drop_neutral(cls, body: Any) -> Any:
        return without_neutral(body, NEUTRAL_IN_MESSAGE)

    def text(self) -> str:
        """The content as one string."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class StreamOptions(Wire):
    """What a stream carries besides the text."""

    include_usage: bool = False
    """Send one more chunk with the token counts before `[DONE]`."""
    include_obfuscation: Literal[False] | None = None
    """Padding against traffic analysis; only its absence is supported."""


class GenerationRequest(Wire):
    """What both kinds of completion have in common."""

    model: Annotated[Text, Field(min_length=1)]
    """Name of the served model, as `/v1/models` lists it."""
    stream: bool | None = None
    """Send the answer as server-sent events while it is generated."""
    stream_options: StreamOptions | None = None
    """Only beside `stream: true`."""
    n: Annotated[int, Field(ge=1)] | None = None
    """Answers per prompt."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """The most tokens an answer may have; the room left in the model's context also limits it."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """0 takes the likeliest token; higher is more varied."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Draw from the smallest set of tokens with this much probability."""
    top_k: Annotated[int, Field(ge=0)] | None = None
    """Draw from this many likeliest tokens; 0 means from all."""
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    """The same seed, prompt and settings give the same answer."""
    stop: Annotated[
        StopText | Annotated[list[StopText], Field(max_length=4)] | None,
        _one_of("a string of 1 to 256 characters or a list of at most 4 of them"),
    ] = None
    """The answer ends before the first of these strings."""
    user: Text | None = None
    """Accepted; changes nothing."""
    metadata: dict[Text, Text] | None = None
    """Accepted; changes nothing, since nothing is stored."""
    safety_identifier: Text | None = None
    """Accepted; changes nothing."""
    prompt_cache_key: Text | None = None
    """Accepted; changes nothing."""

    @model_validator(mode="before")
    @classmethod
    def _drop_neutral(cls, body: Any) -> Any:
        return without_neutral(body, NEUTRAL)

    @model_validator(mode="after")
    def _stream_options_need_a_stream(self) -> "GenerationRequest":
        if self.stream_options is not None and not self.stream:
            raise PydanticCustomError(
                "beside", "is only for stream: true", {"field": "stream_options"}
            )
        return self

    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    def includes_usage(self) -> bool:
        """Whether a stream ends with the token counts."""
        return self.stream_options is not None and self.stream_options.include_usage


class ChatCompletionRequest(GenerationRequest):
    """Body of `POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1)]
    """The conversation so far, oldest turn first."""
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    """The newer name of `max_tokens`."""
    logprobs: bool | None = None
    """Also give the log-probability of each token of the answer."""

    @model_validator(mode="after")
    def _one_name_of_the_limit(self) -> "ChatCompletionRequest":
        if None not in (self.max_tokens, self.max_completion_tokens):
            raise PydanticCustomError(
                "beside", "max_completion_tokens is given as well", {"field": "max_tokens"}
            )
        return self


class CompletionRequest(GenerationRequest):
    """Body of `POST /v1/completions`."""

    prompt: Annotated[
        Text
        | Annotated[list[Text], Field(min_length=1)]
        | Annotated[list[TokenId], Field(min_length=1)]
        | Annotated[list[Annotated[list[TokenId], Field(min_length=1)]], Field(min_length=1)],
        _one_of("a string, a list of strings, a list of token ids, or a list of such lists"),
    ]
    """The text to go on from; several prompts are answered in one response."""
    logprobs: Annotated[int, Field(ge=0, le=0)] | None = None
    """0 gives the log-probability of each token of the answer; alternatives are not supported."""

    def prompts(self) -> list[str | list[int]]:
        """The prompts, one by one."""
        prompt: Any = self.prompt
        if isinstance(prompt, str) or isinstance(prompt[0], int):
            return [prompt]
        return list(prompt)


# The names that a misspelt field may have meant.
FIELDS = tuple(
    sorted(
        {
            *ChatCompletionRequest.model_fields,
            *CompletionRequest.model_fields,
            *Message.model_fields,
            *StreamOptions.model_fields,
        }
    )
)
