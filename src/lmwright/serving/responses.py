"""What the server sends: OpenAI's objects for completions, embeddings, models and errors.

Source: OpenAI's API reference, "Chat Completions", "Completions", "Embeddings", "Models";
`max_model_len`, `/tokenize` and `/detokenize` are vLLM's extensions.
"""

from typing import Annotated, Literal

from pydantic import Field

from lmwright.serving.wire import Wire

FinishReason = Literal["stop", "length", "tool_calls"]

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


class Alternative(Wire):
    """A token that could have stood at a place, and its natural-log probability there."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(Alternative):
    """A token of the answer, its natural-log probability, and the likeliest at its place."""

    top_logprobs: list[Alternative]


class ChatLogprobs(Wire):
    """Log-probabilities of a chat answer, in the order of its tokens."""

    content: list[TokenLogprob]


class CompletionLogprobs(Wire):
    """Log-probabilities of a completion, in the order of its tokens, an echoed prompt's first.

    The very first token of a prompt has none: nothing stands before it.
    """

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class CalledFunction(Wire):
    """The function that is called, and its arguments as the text of a JSON object."""

    name: str
    arguments: str


class CalledTool(Wire):
    """A tool that the model calls."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Wire):
    """The model's answer."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    tool_calls: Annotated[list[CalledTool] | None, Absent] = None


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


class FunctionDelta(Wire):
    """What a chunk adds to a call: its name at first, then more of its arguments."""

    name: Annotated[str | None, Absent] = None
    arguments: Annotated[str | None, Absent] = None


class ToolDelta(Wire):
    """What a chunk adds to the calls; `id` and `type` come with the first part of each."""

    index: int
    id: Annotated[str | None, Absent] = None
    type: Annotated[Literal["function"] | None, Absent] = None
    function: FunctionDelta


class ChatDelta(Wire):
    """What a chunk adds to the answer."""

    role: Annotated[Literal["assistant"] | None, Absent] = None
    content: Annotated[str | None, Absent] = None
    tool_calls: Annotated[list[ToolDelta] | None, Absent] = None


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


class Embedding(Wire):
    """The vector of one input."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str
    """The numbers, or the base64 of their little-endian float32 bytes."""


class EmbeddingUsage(Wire):
    """Token counts of a request for vectors."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(Wire):
    """Response of `POST /v1/embeddings`, in the order of the inputs."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


class Tokens(Wire):
    """Response of `POST /tokenize`."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class Detokenized(Wire):
    """Response of `POST /detokenize`."""

    prompt: str


class ModelCard(Wire):
    """A served model, or an adapter of it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["lmwright"] = "lmwright"
    max_model_len: int
    """The longest prompt and answer together, in tokens."""
    parent: str | None = None
    """The model that an adapter belongs to."""


class ModelList(Wire):
    """Response of `GET /v1/models`."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
