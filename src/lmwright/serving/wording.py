"""A refused value in words: what its field wants, and what was given; never the library's own."""

import json
from collections.abc import Mapping
from typing import Any

# Of a value that is shown in an error, so many characters.
SHOWN = 40

# Kinds of pydantic's complaints ("Usage errors" of its documentation lists them), each as what the
# field wants; names in braces are those of the complaint's context.
_WANTED: Mapping[str, str] = {
    "bool_type": "must be true or false",
    "dict_type": "must be an object",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list",
    "literal_error": "must be {expected}",
    "model_attributes_type": "must be an object",
    "model_type": "must be an object",
    "one_of": "must be {expected}",
    "string_pattern_mismatch": "must match {pattern}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have {min_length} or more characters",
    "string_type": "must be a string",
    "string_unicode": "must be text that Unicode has",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must have {min_length} or more entries",
}
# What `wire` and its kind say themselves of how fields go together needs no more words.
_OURS = ("beside", "json_number", "unicode", "unsupported")


def complaint(field: str, error: Mapping[str, Any]) -> str:
    """What is wrong with a field's value.

    Args:
        field: as the person wrote it.
        error: pydantic's record of it.
    """
    kind = str(error["type"])
    if kind in _OURS:
        return f"{field}: {error['msg']}"
    context = {name: _plain(value) for name, value in error.get("ctx", {}).items()}
    if kind == "literal_error":
        context["expected"] = _as_json(context["expected"])
    wanted = _WANTED.get(kind, "has a value that it cannot have").format_map(context)
    return f"{field} {wanted}; given: {_given(kind, error.get('input'))}"


def _as_json(alternatives: str) -> str:
    """Pydantic's list of literals, which is Python's, as JSON writes them."""
    text = alternatives.replace("'", '"')
    return text.replace("True", "true").replace("False", "false")


def _plain(value: Any) -> Any:
    """A bound as a person writes it: 2, not 2.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _given(kind: str, value: Any) -> str:
    if kind.startswith(("string_too", "too_")):
        return str(len(value))
    return shown(value)


def shown(value: Any) -> str:
    """A JSON value, as far as it is short; of a list or an object no more than what it is."""
    if isinstance(value, list):
        return f"a list with {len(value)} {'entry' if len(value) == 1 else 'entries'}"
    if isinstance(value, dict):
        return "an object"
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > SHOWN:
        text = f"{text[:SHOWN]}..."
    # JSON can spell half a surrogate pair, which the answer could not carry back.
    return text.encode("utf-8", "replace").decode("utf-8")
