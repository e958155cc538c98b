"""Which layers have a window: the rules by which published files say so."""

from typing import Any

QWEN_EXTRAS = ("use_sliding_window", "max_window_layers")
QWEN_DEFAULTS = {"use_sliding_window": False, "max_window_layers": 28}
_QWEN_WINDOW = 4_096


def everywhere(values: dict[str, Any]) -> dict[str, Any]:
    """All layers, where there is a `sliding_window` (Mistral)."""
    kind = "full_attention" if values.get("sliding_window") is None else "sliding_attention"
    values["layer_types"] = [kind] * values["num_hidden_layers"]
    return values


def by_period(values: dict[str, Any], period: int) -> dict[str, Any]:
    """All but every `period`-th layer, unless `layer_types` is given (Gemma 2 and 3)."""
    if values.get("layer_types") is None:
        values["layer_types"] = [
            "sliding_attention" if (index + 1) % period else "full_attention"
            for index in range(values["num_hidden_layers"])
        ]
    return values


def qwen(values: dict[str, Any]) -> dict[str, Any]:
    """Where `use_sliding_window` says so, the layers from `max_window_layers` on, unless
    `layer_types` is given. A new model has windows where it is given one."""
    used = values.pop("use_sliding_window", values.get("sliding_window") is not None)
    first = values.pop("max_window_layers", 0)
    if not used:
        values["sliding_window"] = None
    elif values.get("sliding_window") is None:
        values["sliding_window"] = _QWEN_WINDOW
    if values.get("layer_types") is None:
        values["layer_types"] = [
            "sliding_attention" if used and index >= first else "full_attention"
            for index in range(values["num_hidden_layers"])
        ]
    return values
