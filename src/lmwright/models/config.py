"""The shape of a transformer, in the field's own names; no torch here."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from lmwright.core.config import Config

LayerType = Literal["full_attention", "sliding_attention"]


class TransformerConfig(Config):
    """Everything that decides the weights' shapes and what is computed with them."""

    model_type: str = "qwen3"
    """Family: which published layout the folder on disk follows."""
    vocab_size: int = Field(gt=0)
    """V, rows of the embedding."""
    hidden_size: int = Field(gt=0)
    """D, width of the residual stream."""
    intermediate_size: int = Field(gt=0)
    """Width inside the feed-forward layer."""
    num_hidden_layers: int = Field(gt=0)
    """Number of blocks."""
    num_attention_heads: int = Field(gt=0)
    """H, query heads."""
    num_key_value_heads: int = Field(gt=0)
    """Heads of keys and values; query heads share them in equal groups."""
    head_dim: int = Field(gt=0)
    """K, width of one head; even, since rotary positions turn pairs."""
    max_position_embeddings: int = Field(default=32_768, gt=0)
    """Longest sequence that the model is meant for, in tokens."""
    rms_norm_eps: float = Field(default=1e-6, gt=0)
    """Added to the mean square before the root."""
    rope_theta: float = Field(default=10_000.0, gt=0)
    """Base of the rotary frequencies."""
    tie_word_embeddings: bool = False
    """Whether the output projection is the embedding itself."""
    attention_bias: bool = False
    """Whether the four attention projections have a bias."""
    sliding_window: int | None = Field(default=None, gt=0)
    """How many positions, its own included, a token of a sliding layer sees."""
    layer_types: tuple[LayerType, ...] = ()
    """Kind of attention of each block; left out: all full."""
    initializer_range: float = Field(default=0.02, gt=0)
    """Standard deviation of the embedding at the start of training."""
    bos_token_id: int | None = None
    """Token that begins a document."""
    eos_token_id: int | tuple[int, ...] | None = None
    """Token, or tokens, that end a generation."""
    pad_token_id: int | None = None
    """Token that fills short rows."""

    @model_validator(mode="before")
    @classmethod
    def _all_full_unless_said(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("layer_types"):
            layers = values.get("num_hidden_layers")
            if isinstance(layers, int):
                return values | {"layer_types": ("full_attention",) * layers}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> "TransformerConfig":
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads {self.num_key_value_heads}"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} is odd; rotary positions rotate pairs")
        if len(self.layer_types) != self.num_hidden_layers:
            raise ValueError(
                f"layer_types names {len(self.layer_types)} layers, "
                f"num_hidden_layers is {self.num_hidden_layers}"
            )
        if "sliding_attention" in self.layer_types and self.sliding_window is None:
            raise ValueError("layer_types has sliding_attention, but sliding_window is not set")
        return self

    def window(self, layer: int) -> int | None:
        """How many positions a token of this layer sees; None: all before it."""
        return self.sliding_window if self.layer_types[layer] == "sliding_attention" else None

    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> "TransformerConfig":
        """Read the content of a published `config.json`.

        Raises:
            LmwrightError: if the family is not known, or the file asks for what our blocks lack.
        """
        from lmwright.models import families

        return cls.model_validate(families.find(values).read_config(values))

    def to_hf(self) -> dict[str, Any]:
        """The content of `config.json` as transformers expects it, weights' dtype left out."""
        from lmwright.models import families

        values = self.model_dump(mode="json")
        return families.find(values).write_config(values)
