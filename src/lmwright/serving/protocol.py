"""Requests of OpenAI's generation endpoints, as far as they are honoured.

Every field is honoured, or refused with its name; a field that a client sends at the value that
asks for nothing (`"best_of": 1`, `"store": false`, null) is accepted. Source: OpenAI's API
reference, "Chat Completions" and "Completions"; `top_k`, `min_p`, `repetition_penalty`,
`min_tokens`, `stop_token_ids`, `ignore_eos` and `priority` are vLLM's extensions.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, JsonValue, model_validator

from lmwright.serving.messages import Message, NamedToolChoice, ResponseFormat, Tool, ToolChoice
from lmwright.serving.wire import Text, TokenId, Wire, one_of, refuse_beside, without_neutral

# Known fields of the API that this server does not have, each with the values that ask for nothing.
_NEUTRAL: Mapping[str, tuple[JsonValue, ...]] = {
    "audio": (),
    "best_of": (1,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "modalities": (["text"],),
    "prediction": (),
    "reasoning_effort": ("none",),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "suffix": ("",),
    "verbosity": (),
    "web_search_options": (),
}
# Those of chat completions, and of completions, which each lack something that the other has.
NEUTRAL = {**_NEUTRAL, "echo": (False,)}
NEUTRAL_IN_COMPLETION = {
    **_NEUTRAL,
    "parallel_tool_calls": (True, False),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
}

StopText = Annotated[Text, Field(min_length=1, max_length=256)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Bias = Annotated[float, Field(ge=-100, le=100)]


class StreamOptions(Wire):
    """What a stream carries besides the text."""

    include_usage: bool = False
    """Send one more chunk with the token counts before `[DONE]`."""
    include_obfuscation: Literal[False] | None = None
    """Padding against traffic analysis; only its absence is supported."""


class GenerationRequest(Wire):
    """What both kinds of completion have in common."""

    neutral: ClassVar[Mapping[str, tuple[JsonValue, ...]]]

    model: Annotated[Text, Field(min_length=1)]
    """Name of the served model or of one of its adapters, as `/v1/models` lists them."""
    stream: bool | None = None
    """Send the answer as server-sent events while it is generated."""
    stream_options: StreamOptions | None = None
    """Only beside `stream: true`."""
    n: Annotated[int, Field(ge=1)] | None = None
    """Answers per prompt."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """The most tokens an answer may have; the room left in the model's context also limits it."""
    min_tokens: Annotated[int, Field(ge=0)] | None = None
    """The answer does not end by itself before it has so many tokens."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """0 takes the likeliest token; higher is more varied."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Draw from the smallest set of tokens with this much probability."""
    top_k: Annotated[int, Field(ge=0)] | None = None
    """Draw from this many likeliest tokens; 0 means from all."""
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    """Draw from the tokens at least this fraction as likely as the likeliest."""
    presence_penalty: Penalty | None = None
    """Taken once from the scores of tokens that the answer already has."""
    frequency_penalty: Penalty | None = None
    """Taken from the scores of tokens as often as the answer already has them."""
    repetition_penalty: Annotated[float, Field(gt=0)] | None = None
    """Above 1, tokens of the prompt and the answer become less likely; 1 is off."""
    logit_bias: (
        Annotated[
            dict[Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], Bias], Field(max_length=1024)
        ]
        | None
    ) = None
    """Added to the scores of these token ids."""
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    """The same seed, prompt and settings give the same answer."""
    stop: Annotated[
        StopText | Annotated[list[StopText], Field(max_length=4)] | None,
        one_of("a string of 1 to 256 characters or a list of at most 4 of them"),
    ] = None
    """The answer ends before the first of these strings."""
    stop_token_ids: Annotated[list[TokenId], Field(max_length=64)] | None = None
    """Further tokens that end the answer."""
    ignore_eos: bool | None = None
    """Do not stop where the model would."""
    priority: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = None
    """Whoever has the lower number goes first."""
    response_format: ResponseFormat | None = None
    """The form of the answer; the server lets the model write nothing else."""
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
        return without_neutral(body, cls.neutral)

    @model_validator(mode="after")
    def _stream_options_need_a_stream(self) -> "GenerationRequest":
        if self.stream_options is not None and not self.stream:
            raise refuse_beside("stream_options", "is only for stream: true")
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

    neutral = NEUTRAL

    messages: Annotated[list[Message], Field(min_length=1)]
    """The conversation so far, oldest turn first."""
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    """The newer name of `max_tokens`."""
    logprobs: bool | None = None
    """Also give the log-probability of each token of the answer."""
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    """How many of the likeliest tokens to give beside each; needs `logprobs`."""
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    """What the model may call; its chat template tells it."""
    tool_choice: ToolChoice = None
    """Whether it may, may not or has to call a tool; may, where there are tools."""
    parallel_tool_calls: bool | None = None
    """Whether one answer may hold several calls; a call that has to be made is always one."""

    @model_validator(mode="after")
    def _fields_go_together(self) -> "ChatCompletionRequest":
        if None not in (self.max_tokens, self.max_completion_tokens):
            raise refuse_beside("max_tokens", "max_completion_tokens is given as well")
        if self.top_logprobs and not self.logprobs:
            raise refuse_beside("top_logprobs", "is only for logprobs: true")
        self._check_tools()
        return self

    def _check_tools(self) -> None:
        names = [tool.function.name for tool in self.tools or ()]
        if len(set(names)) < len(names):
            raise refuse_beside("tools", "two functions have the same name")
        if not names and self.tool_choice not in (None, "none", "auto"):
            raise refuse_beside("tool_choice", "there are no tools to choose from")
        choice = self.tool_choice
        if isinstance(choice, NamedToolChoice) and choice.function.name not in names:
            raise refuse_beside("tool_choice", "no tool has this name")
        formatted = self.response_format is not None and self.response_format.type != "text"
        if formatted and self.may_call():
            raise refuse_beside(
                "response_format", 'an answer in JSON cannot call tools; give tool_choice: "none"'
            )

    def may_call(self) -> bool:
        """Whether the answer may call a tool."""
        return bool(self.tools) and self.tool_choice != "none"


class CompletionRequest(GenerationRequest):
    """Body of `POST /v1/completions`."""

    neutral = NEUTRAL_IN_COMPLETION

    prompt: Annotated[
        Text
        | Annotated[list[Text], Field(min_length=1)]
        | Annotated[list[TokenId], Field(min_length=1)]
        | Annotated[list[Annotated[list[TokenId], Field(min_length=1)]], Field(min_length=1)],
        one_of("a string, a list of strings, a list of token ids, or a list of such lists"),
    ]
    """The text to go on from; several prompts are answered in one response."""
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    """As above; 0, beside `echo`, only scores the prompt."""
    echo: bool | None = None
    """Give the prompt back before the answer, with its log-probabilities if those are wanted."""
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    """Give each token's log-probability, and so many of the likeliest tokens beside it."""

    @model_validator(mode="after")
    def _only_an_echo_is_empty(self) -> "CompletionRequest":
        if self.max_tokens == 0 and not self.echo:
            raise refuse_beside("max_tokens", "0 is only for echo: true")
        return self

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
