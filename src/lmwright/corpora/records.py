"""From a row of a data file to training records, by the columns' usual names in the field.

| columns | records |
|---|---|
| `text` | text |
| `messages`, or `conversations` (`from`, `value`) | chats |
| `messages`, `answer`, `kind` | questions |
| `prompt` and `completion`, `response` or `answer`; `question` and `answer` | chats |
| `instruction`, `input`, `output` (or `instances` of them) | chats |
| `prompt`, `chosen`, `rejected` | preferences |
| `chosen`, `rejected`, each with the prompt inside | preferences |

Those last are lists of messages, or text in the form "\\n\\nHuman: ...\\n\\nAssistant: ...".
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

RecordKind = Literal["text", "chats", "preferences", "questions"]
ROLES = frozenset({"system", "user", "assistant", "tool"})
_SHAREGPT_ROLES = {"human": "user", "gpt": "assistant", "system": "system"}
_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")
_KNOWN = (
    "text; messages; prompt, completion; instruction, input, output; question, answer; "
    "prompt, chosen, rejected"
)
_ANSWER_COLUMNS = ("completion", "response", "answer", "output")


@dataclass(frozen=True)
class Record:
    """One training record in the corpus's own columns."""

    kind: RecordKind
    row: dict[str, Any]


class BadRow(ValueError):
    """What is wrong with a row; the reader adds the file and the line."""


class Unusable(BadRow):
    """A sound row that gives no record of its kind; the reader leaves it out and counts it."""


def records_of(row: Mapping[str, Any], text_column: str = "text") -> list[Record]:
    """The records in a row; more than one where its columns give a chat and a preference.

    Args:
        row: column names and values.
        text_column: the column that holds plain text.

    Raises:
        BadRow: if the columns are none of the known sets, or a value has the wrong shape.
        Unusable: if the row is sound and yet gives no record.
    """
    filled = {key: value for key, value in row.items() if value is not None}
    found = list(_interpret(filled, text_column))
    if not found:
        columns = ", ".join(str(key) for key in row) or "none"
        raise BadRow(f"has the columns {columns}; one of these sets is needed: {_KNOWN}")
    return found


def teaches_nothing(record: Record) -> bool:
    """Whether a record is well-formed and yet empty: no text, no answer, or two equal answers."""
    row = record.row
    if record.kind == "text":
        return not row["text"].strip()
    if record.kind == "preferences":
        return bool(row["chosen"] == row["rejected"])
    answers = [m["content"] for m in row["messages"] if m["role"] == "assistant"]
    return record.kind == "chats" and not any(answer.strip() for answer in answers)


def _interpret(row: Mapping[str, Any], text_column: str) -> Iterator[Record]:
    if "messages" in row or "conversations" in row:
        yield _conversation(row)
        return
    if "chosen" in row and "rejected" in row:
        yield Record("preferences", _preference(row))
    if "instances" in row and "instruction" in row:
        for instance in _list(row["instances"], "instances"):
            yield _chat(_instruction({**row, **instance}), instance.get("output"))
    elif "instruction" in row and any(column in row for column in _ANSWER_COLUMNS):
        yield _chat(_instruction(row), _answer(row))
    elif "prompt" in row and any(column in row for column in _ANSWER_COLUMNS):
        yield _chat(row["prompt"], _answer(row))
    elif "question" in row and "answer" in row:
        yield _chat(row["question"], row["answer"])
    elif text_column in row and "chosen" not in row:
        yield Record("text", {"text": _string(row[text_column], text_column)})


def _conversation(row: Mapping[str, Any]) -> Record:
    messages = _messages(row.get("messages", row.get("conversations")))
    if "answer" in row and messages[-1]["role"] == "user":
        columns = {key: row.get(key, "") for key in ("answer", "kind", "name", "wording")}
        return Record("questions", {"messages": messages, **columns})
    if not any(message["role"] == "assistant" for message in messages):
        raise BadRow("has messages of which none is the assistant's: nothing to learn from")
    return Record("chats", {"messages": messages})


def _chat(prompt: Any, answer: Any) -> Record:
    messages = _prompt(prompt) + _answer_messages(answer)
    return Record("chats", {"messages": messages})


def _answer(row: Mapping[str, Any]) -> Any:
    return next(row[column] for column in _ANSWER_COLUMNS if column in row)


def _instruction(row: Mapping[str, Any]) -> str:
    instruction = _string(row["instruction"], "instruction")
    more = row.get("input") or ""
    return f"{instruction}\n\n{_string(more, 'input')}" if more else instruction


def _preference(row: Mapping[str, Any]) -> dict[str, Any]:
    if "prompt" in row:
        prompt = _prompt(row["prompt"])
        chosen, rejected = (_answer_messages(row[key]) for key in ("chosen", "rejected"))
        # Some sets repeat the whole conversation in both answers.
        if chosen[: len(prompt)] == prompt and rejected[: len(prompt)] == prompt:
            chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
    elif "instruction" in row:
        prompt = _prompt(_instruction(row))
        chosen, rejected = (_answer_messages(row[key]) for key in ("chosen", "rejected"))
    else:
        prompt, chosen, rejected = _shared_beginning(
            _transcript(row["chosen"]), _transcript(row["rejected"])
        )
    for answer in (chosen, rejected):
        if [message["role"] for message in answer] != ["assistant"]:
            raise Unusable("has answers that differ by more than the assistant's last message")
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _shared_beginning(
    chosen: list[dict[str, str]], rejected: list[dict[str, str]]
) -> tuple[list[dict[str, str]], list[dict[str, str]], list[dict[str, str]]]:
    same = 0
    while same < min(len(chosen), len(rejected)) - 1 and chosen[same] == rejected[same]:
        same += 1
    if not same:
        raise Unusable("has a chosen and a rejected answer without a prompt that both begin with")
    return chosen[:same], chosen[same:], rejected[same:]


def _transcript(value: Any) -> list[dict[str, str]]:
    """Messages from a list of them, or from `\\n\\nHuman: ...\\n\\nAssistant: ...`."""
    if isinstance(value, list):
        return _messages(value)
    parts = _TURN.split(_string(value, "chosen or rejected"))
    if len(parts) < 3 or parts[0].strip():
        raise BadRow("has chosen and rejected answers and no prompt")
    roles = {"Human": "user", "Assistant": "assistant"}
    turns = [(roles[parts[i]], parts[i + 1].strip()) for i in range(1, len(parts), 2)]
    return [{"role": role, "content": text} for role, text in turns]


def _prompt(value: Any) -> list[dict[str, str]]:
    if isinstance(value, list):
        return _messages(value)
    return [{"role": "user", "content": _string(value, "prompt")}]


def _answer_messages(value: Any) -> list[dict[str, str]]:
    if isinstance(value, list):
        return _messages(value)
    return [{"role": "assistant", "content": _string(value, "answer")}]


def _messages(value: Any) -> list[dict[str, str]]:
    messages = []
    for message in _list(value, "messages"):
        if not isinstance(message, Mapping):
            raise BadRow("has a message that is no object with a role and a content")
        role = message.get("role", message.get("from"))
        role = _SHAREGPT_ROLES.get(str(role), role)
        if role not in ROLES:
            raise BadRow(f"has a message with role {role!r}; it must be {', '.join(sorted(ROLES))}")
        content = message.get("content", message.get("value"))
        if isinstance(content, list):  # the API's form: [{"type": "text", "text": ...}]
            content = "".join(part.get("text", "") for part in content if isinstance(part, dict))
        messages.append({"role": str(role), "content": _string(content, "content")})
    return messages


def _list(value: Any, name: str) -> list[Any]:
    # Parquet hands out arrays; CSV can hold no list at all.
    items = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(items, list) or not items:
        raise BadRow(f"has {name} that are no list, or an empty one")
    return items


def _string(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise BadRow(f"has a {name} of type {type(value).__name__}; it must be text")
    return value
