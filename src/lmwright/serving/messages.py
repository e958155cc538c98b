"""Conversations and tools as a request holds them.

Source: OpenAI's API reference, "Chat Completions"; what the chat template is given follows Hugging
Face's convention ("Tool use" in its chat-template guide): tools as they are, the arguments of an
earlier call as an object.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from lmwright.serving.wire import JsonObject, Text, Wire, one_of, refuse_beside, without_neutral

FunctionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]

# What the official client's own answers carry when they are sent back as history.
NEUTRAL_IN_MESSAGE: Mapping[str, tuple[JsonValue, ...]] = {
    "annotations": ([],),
    "audio": (),
    "function_call": (),
    "reasoning_content": (),
    "refusal": (),
}


class TextPart(Wire):
    """A piece of a message's content; text is the only kind this server reads."""

    type: Literal["text"]
    text: Text


class FunctionCall(Wire):
    """Which function the assistant called, and with what."""

    name: FunctionName
    """The function."""
    arguments: Text
    """A JSON object, as text."""

    @model_validator(mode="after")
    def _arguments_are_an_object(self) -> "FunctionCall":
        try:
            read = json.loads(self.arguments or "{}")
        except (ValueError, RecursionError):
            read = None
        if not isinstance(read, dict):
            raise refuse_beside("arguments", "must be the text of a JSON object")
        return self


class ToolCall(Wire):
    """A call in an earlier answer."""

    id: Text
    """By which the tool's message refers to it."""
    type: Literal["function"] = "function"
    """Functions are the only kind."""
    function: FunctionCall
    """What was called."""
    index: int | None = None
    """Its place; accepted because streamed calls carry it."""

    def rendered(self) -> dict[str, Any]:
        """As a chat template reads it: the arguments as an object."""
        arguments = json.loads(self.function.arguments or "{}")
        function = {"name": self.function.name, "arguments": arguments}
        return {"id": self.id, "type": "function", "function": function}


class Message(Wire):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    """Who speaks; `developer` is read as `system`."""
    content: Annotated[
        Text | list[TextPart] | None,
        one_of("a string or a list of text parts; images, audio and files are not supported"),
    ] = None
    """What is said; only an assistant's turn that calls tools may leave it out."""
    tool_calls: list[ToolCall] | None = None
    """What the assistant called."""
    tool_call_id: Text | None = None
    """The call that a tool's message answers."""
    name: Text | None = None
    """The function that a tool's message comes from; other turns have none."""

    @model_validator(mode="before")
    @classmethod
    def _drop_neutral(cls, body: Any) -> Any:
        return without_neutral(body, NEUTRAL_IN_MESSAGE)

    @model_validator(mode="after")
    def _fields_belong_to_the_role(self) -> "Message":
        if self.content is None and not (self.role == "assistant" and self.tool_calls):
            raise PydanticCustomError("absent", "is required", {"field": "content"})
        if self.tool_calls and self.role != "assistant":
            raise refuse_beside("tool_calls", "only an assistant calls tools")
        if self.role == "tool" and self.tool_call_id is None:
            raise PydanticCustomError("absent", "is required", {"field": "tool_call_id"})
        if self.role != "tool" and self.tool_call_id is not None:
            raise refuse_beside("tool_call_id", "is only for the role tool")
        if self.role != "tool" and self.name is not None:
            raise PydanticCustomError(
                "unsupported", "this server does not support this field", {"field": "name"}
            )
        return self

    def text(self) -> str:
        """The content as one string."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "".join(part.text for part in self.content)

    def rendered(self) -> dict[str, Any]:
        """As a chat template reads it."""
        turn: dict[str, Any] = {
            "role": "system" if self.role == "developer" else self.role,
            "content": self.text(),
        }
        if self.tool_calls:
            turn["tool_calls"] = [call.rendered() for call in self.tool_calls]
        if self.tool_call_id is not None:
            turn["tool_call_id"] = self.tool_call_id
        if self.name is not None:
            turn["name"] = self.name
        return turn


class Function(Wire):
    """A function that the model may call."""

    name: FunctionName
    """Letters, digits, `_` and `-`."""
    description: Text | None = None
    """What it does, for the model."""
    parameters: JsonObject | None = None
    """JSON schema of its arguments; absent: it takes none."""
    strict: bool | None = None
    """Let the model write no arguments but those that fit the schema; a call that has to be made
    is held to it anyway."""


class Tool(Wire):
    """A tool that the model may call."""

    type: Literal["function"]
    """Functions are the only kind."""
    function: Function
    """Which one."""

    def rendered(self) -> dict[str, Any]:
        """As a chat template reads it."""
        function: dict[str, Any] = {"name": self.function.name}
        if self.function.description is not None:
            function["description"] = self.function.description
        function["parameters"] = self.function.parameters or {"type": "object", "properties": {}}
        return {"type": "function", "function": function}


class NamedFunction(Wire):
    """The name of a function."""

    name: FunctionName
    """One of the tools'."""


class NamedToolChoice(Wire):
    """This function has to be called."""

    type: Literal["function"]
    """Functions are the only kind."""
    function: NamedFunction
    """Which one."""


ToolChoice = Annotated[
    Literal["none", "auto", "required"] | NamedToolChoice | None,
    one_of('"none", "auto", "required" or {"type": "function", "function": {"name": ...}}'),
]


class AnswerSchema(Wire):
    """What a JSON answer looks like."""

    name: FunctionName
    """For the model; changes nothing here."""
    description: Text | None = None
    """For the model; changes nothing here."""
    json_schema: Annotated[JsonObject, Field(alias="schema")]
    """The schema; the answer always fits it, unless it is cut short by the length."""
    strict: bool | None = None
    """The answer fits the schema either way."""


class ResponseFormat(Wire):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    """Free text, any JSON object, or JSON that fits `json_schema`."""
    json_schema: AnswerSchema | None = None
    """Which schema."""

    @model_validator(mode="after")
    def _a_schema_where_one_is_named(self) -> "ResponseFormat":
        if self.type == "json_schema" and self.json_schema is None:
            raise PydanticCustomError("absent", "is required", {"field": "json_schema"})
        if self.type != "json_schema" and self.json_schema is not None:
            raise refuse_beside("json_schema", 'is only for the type "json_schema"')
        return self
