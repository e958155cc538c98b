"""What LLaMA's descendants share: names of weights, keys of config.json, the rotary settings."""

from typing import Any

from lmwright.core.errors import LmwrightError
from lmwright.models.config import RopeScaling, TransformerConfig
from lmwright.models.families import Head
from lmwright.models.families.naming import Weight

SHAPE = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
)
COMMON = (
    *SHAPE,
    "max_position_embeddings",
    "tie_word_embeddings",
    "initializer_range",
    "attention_dropout",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)

FIELDS: dict[str, tuple[str, ...]] = {name: (name,) for name in COMMON} | {
    "norm_eps": ("rms_norm_eps",),
    "rope_theta": ("rope_parameters.rope_theta", "rope_theta"),
}

# Shapes that everybody writes stay required.
DEFAULTS: dict[str, Any] = {
    "num_key_value_heads": None,
    "head_dim": None,
    "max_position_embeddings": 2_048,
    "norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    "tie_word_embeddings": False,
    "initializer_range": 0.02,
    "attention_dropout": 0.0,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}

ATTENTION = tuple(
    Weight(f"layers.{{i}}.self_attn.{name}.{{p}}", f"layers.{{i}}.self_attn.{name}.{{p}}")
    for name in ("q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm")
)
FEED_FORWARD = tuple(
    Weight(f"layers.{{i}}.mlp.{name}.{{p}}", f"layers.{{i}}.mlp.{name}.{{p}}")
    for name in ("gate_proj", "up_proj", "down_proj")
)
STACK = (
    Weight("embed_tokens.{p}", "embed_tokens.{p}"),
    Weight("layers.{i}.input_layernorm.{p}", "layers.{i}.input_layernorm.{p}"),
    Weight("layers.{i}.post_attention_layernorm.{p}", "layers.{i}.post_attention_layernorm.{p}"),
    Weight("norm.{p}", "norm.{p}"),
)
WEIGHTS = (*STACK, *ATTENTION, *FEED_FORWARD)

SCORE = (Weight("head.project.{p}", "score.{p}"),)


def heads(name: str) -> dict[Any, Head]:
    """The heads that `transformers` has for a family of causal models named `name`."""
    return {
        "causal_lm": Head(f"{name}ForCausalLM", weights=(Weight("lm_head.{p}", "lm_head.{p}"),)),
        "sequence_classification": Head(
            f"{name}ForSequenceClassification",
            layout={"pooling": "last", "bias": False},
            weights=SCORE,
        ),
        "reward": Head(
            f"{name}ForSequenceClassification",
            layout={"pooling": "last", "bias": False},
            weights=SCORE,
        ),
        "token_classification": Head(f"{name}ForTokenClassification", weights=SCORE),
        "embedding": Head(f"{name}Model", layout={"pooling": "last"}, prefixed=False),
        "backbone": Head(f"{name}Model", prefixed=False),
    }


ROPE_EXTRAS = ("rope_parameters", "rope_scaling")

_ROPE_KEYS = (
    "factor",
    "original_max_position_embeddings",
    "low_freq_factor",
    "high_freq_factor",
    "beta_fast",
    "beta_slow",
    "attention_factor",
    "truncate",
)


def settle_read(values: dict[str, Any]) -> dict[str, Any]:
    """Sizes that follow from others, and the rotary settings of old and new files."""
    if values.get("num_key_value_heads") is None:
        values["num_key_value_heads"] = values["num_attention_heads"]
    if values.get("head_dim") is None:
        values["head_dim"] = values["hidden_size"] // values["num_attention_heads"]
    return settle_rope(values)


def settle_rope(values: dict[str, Any]) -> dict[str, Any]:
    """`rope_parameters` (or `rope_scaling` of older files) -> rope_scaling, rotary_dim."""
    new, old = values.pop("rope_parameters", None), values.pop("rope_scaling", None)
    if isinstance(old, RopeScaling):
        return values | {"rope_scaling": old}
    given = new or old or {}
    kind = given.get("rope_type", given.get("type", "default"))
    share = given.get("partial_rotary_factor")
    if share is not None and share != 1.0:
        values["rotary_dim"] = int(values["head_dim"] * share)
    if kind == "default":
        return values
    if kind not in ("linear", "dynamic", "yarn", "llama3"):
        raise LmwrightError(
            f"config.json: rope_type {kind!r} is not supported",
            hint="supported: default, linear, dynamic, yarn, llama3",
        )
    settings = {key: given[key] for key in _ROPE_KEYS if given.get(key) is not None}
    return values | {"rope_scaling": RopeScaling(kind=kind, **settings)}


def settle_written(values: dict[str, Any], config: TransformerConfig) -> dict[str, Any]:
    """The rotary settings where new and old readers look for them."""
    parameters: dict[str, Any] = {"rope_theta": config.rope_theta, "rope_type": "default"}
    if config.rotary_dim is not None:
        parameters["partial_rotary_factor"] = config.rotary_dim / config.head_dim
    if (scaling := config.rope_scaling) is not None:
        parameters |= {"rope_type": scaling.kind, "factor": scaling.factor}
        window = scaling.original_max_position_embeddings or config.max_position_embeddings
        if scaling.kind == "yarn":
            for key in ("beta_fast", "beta_slow", "attention_factor", "truncate"):
                if (value := getattr(scaling, key)) is not None:
                    parameters[key] = value
            parameters["original_max_position_embeddings"] = window
        elif scaling.kind == "llama3":
            parameters |= {
                "low_freq_factor": scaling.low_freq_factor,
                "high_freq_factor": scaling.high_freq_factor,
                "original_max_position_embeddings": window,
            }
    return values | {"rope_parameters": parameters, "rope_theta": config.rope_theta}


ROPE_DERIVED = frozenset({"rope_scaling", "rotary_dim"})
