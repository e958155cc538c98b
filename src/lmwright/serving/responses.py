"""What the server sends: OpenAI's objects for chat completions, completions, models and errors.

Source: OpenAI's API reference, "Chat Completions", "Completions", "Models"; `max_model_len` is
vLLM's extension.
"""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from lmwright.serving.protocol import Wire

FinishReason = Literal["stop", "length"]

# A chunk leaves out what it does not say; clients tell that apart from null.
Absent = Field(exclude_if=lambda value: value is None)


class ErrorDetail(Wire):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(Wire):
    """Body of every refusal and failure."""

    error: ErrorDetail


class Usage(Wire):
    """Token counts of a request; several answers to one prompt count the prompt once."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TokenLogprob(Wire):
    """A token of the answer and its natural-log probability."""

    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: list[JsonValue] = Field(default_factory=list)


class ChatLogprobs(Wire):
    """Log-probabilities of a chat answer, in the order of its tokens."""

    content: list[TokenLogprob]


class CompletionLogprobs(Wire):
    """Log-probabilities of a completion, in the order of its tokens."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: None = None
    text_offset: list[int]


class ChatMessage(Wire):
    """The model's answer."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(Wire):
    """One answer of a chat completion."""

    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason


class ChatCompletion(Wire):
    """Response of `POST /v1/chat/completions`."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class ChatDelta(Wire):
    """What a chunk adds to the answer."""

    role: Annotated[Literal["assistant"] | None, Absent] = None
    content: Annotated[str | None, Absent] = None


class ChatChunkChoice(Wire):
    """A chunk's part of one answer."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason | None = None


class ChatCompletionChunk(Wire):
    """One event of a streamed chat completion."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: Annotated[Usage | None, Absent] = None


class CompletionChoice(Wire):
    """One answer of a completion, or a chunk's part of it."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason | None = None


class Completion(Wire):
    """Response of `POST /v1/completions`, and each event of its stream."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Annotated[Usage | None, Absent] = None


class ModelCard(Wire):
    """A served model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["lmwright"] = "lmwright"
    max_model_len: int
    """The longest prompt and answer together, in tokens."""


class ModelList(Wire):
    """Response of `GET /v1/models`."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
