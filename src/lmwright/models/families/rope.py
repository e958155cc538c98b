"""Rotary settings of old and new config.json files."""

import math
from collections.abc import Mapping
from typing import Any

from lmwright.core.errors import LmwrightError
from lmwright.models.config import RopeScaling, TransformerConfig

EXTRAS = ("rope_parameters", "rope_scaling")
_KINDS = ("linear", "dynamic", "yarn", "llama3")
_SETTINGS = (
    "factor",
    "original_max_position_embeddings",
    "low_freq_factor",
    "high_freq_factor",
    "beta_fast",
    "beta_slow",
    "attention_factor",
    "truncate",
)
_BESIDE = ("rope_type", "type", "rope_theta", "partial_rotary_factor")
# What each kind's reader knows; others warn of keys that they do not know.
_WRITTEN = {
    "linear": (),
    "dynamic": (),
    "llama3": ("low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": (
        "beta_fast",
        "beta_slow",
        "attention_factor",
        "truncate",
        "original_max_position_embeddings",
    ),
}


def read(values: dict[str, Any], *, partial: bool = False) -> dict[str, Any]:
    """`rope_parameters` (or `rope_scaling` of older files) -> rope_scaling, rotary_dim.

    Args:
        values: fields of `TransformerConfig`, with the two keys as config.json has them.
        partial: whether the family may rotate a part of each head.

    Raises:
        LmwrightError: naming the setting that our blocks lack.
    """
    new, old = values.pop("rope_parameters", None), values.pop("rope_scaling", None)
    if isinstance(old, RopeScaling) or (isinstance(old, Mapping) and "kind" in old):
        return values | {"rope_scaling": old}  # ours already: a new model
    given = old or new or {}
    share = given.get("partial_rotary_factor")
    if share is not None and share != 1.0:
        if not partial:
            raise LmwrightError(
                f"config.json: partial_rotary_factor is {share!r}; "
                f"{values['model_type']} rotates whole heads"
            )
        values["rotary_dim"] = int(values["head_dim"] * share)
    return values | {"rope_scaling": scaling(given)}


def scaling(given: Mapping[str, Any]) -> RopeScaling | None:
    """The scaling that one group of settings asks for; None: none.

    Raises:
        LmwrightError: naming the setting that our blocks lack.
    """
    kind = given.get("rope_type", given.get("type", "default"))
    if kind == "default":
        return None
    if kind not in _KINDS:
        raise LmwrightError(
            f"config.json: rope_type {kind!r} is not supported",
            hint=f"supported: default, {', '.join(_KINDS)}",
        )
    unknown = [name for name in given if name not in (*_SETTINGS, *_BESIDE)]
    if unknown:
        raise LmwrightError(f"config.json: {unknown[0]} of rope_type {kind!r} is not supported")
    settings = {name: given[name] for name in _SETTINGS if given.get(name) is not None}
    return RopeScaling.model_validate({"kind": kind} | settings)


def written(config: TransformerConfig) -> dict[str, Any]:
    """`rope_parameters` of the layers that see everything."""
    parameters: dict[str, Any] = {"rope_theta": config.rope_theta, "rope_type": "default"}
    if config.rotary_dim is not None:
        parameters["partial_rotary_factor"] = _share(config.rotary_dim, config.head_dim)
    if (own := config.rope_scaling) is not None:
        parameters |= {"rope_type": own.kind, "factor": own.factor}
        settings = {name: getattr(own, name) for name in _WRITTEN[own.kind]}
        parameters |= {name: value for name, value in settings.items() if value is not None}
    return parameters


def _share(part: int, whole: int) -> float:
    """The fraction whose product with `whole` readers cut down to `part`."""
    share = part / whole
    return share if int(whole * share) == part else math.nextafter(share, 1.0)
