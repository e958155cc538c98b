"""The shape of a transformer, in the field's own names; no torch here."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from lmwright.core.config import Config

Architecture = Literal["decoder", "encoder", "encoder_decoder"]
LayerType = Literal["full_attention", "sliding_attention"]
Activation = Literal["silu", "gelu", "gelu_tanh", "gelu_new", "gelu_bloom", "relu", "relu2", "tanh"]
Positions = Literal["rotary", "learned", "sinusoidal", "alibi", "relative", "none"]
Task = Literal[
    "causal_lm",
    "masked_lm",
    "sequence_to_sequence",
    "sequence_classification",
    "token_classification",
    "span_qa",
    "embedding",
    "reward",
    "backbone",
]


MOST = 10**9
"""Beyond every width and vocabulary there is. A weight of twice this by this still counts its bytes
in 64 bits, so that an absurd config.json is refused before anything is built."""
MOST_BLOCKS = 2_000
"""Of one stack; the deepest that was published has 1,000 (Wang et al. 2022, DeepNet)."""
MOST_EXPERTS = 10_000
"""In one block."""


class RopeScaling(Config):
    """How rotary frequencies are changed to reach further than the model was trained for."""

    kind: Literal["linear", "dynamic", "yarn", "llama3"]
    """`linear`: positions divided (Chen et al. 2023); `dynamic`: NTK-aware, by the length at hand;
    `yarn` (Peng et al. 2023); `llama3`: by wavelength (Llama 3.1's published rule)."""
    factor: float = Field(gt=0)
    """How many times further."""
    original_max_position_embeddings: int | None = Field(default=None, gt=0)
    """The window before; None: the config's `max_position_embeddings`."""
    low_freq_factor: float = 1.0
    """llama3: wavelengths beyond the window over this are divided whole."""
    high_freq_factor: float = 4.0
    """llama3: wavelengths under the window over this stay."""
    beta_fast: float = 32.0
    """yarn: pairs that turn more often than this in the window stay."""
    beta_slow: float = 1.0
    """yarn: pairs that turn less often than this are divided whole."""
    attention_factor: float | None = None
    """yarn: factor of cosine and sine; None: 0.1 ln(factor) + 1."""
    truncate: bool = True
    """yarn: whether the two limits are rounded to whole pairs."""


class ExpertsConfig(Config):
    """Mixture of experts in place of some blocks' feed-forward layer."""

    num_experts: int = Field(gt=1, le=MOST_EXPERTS)
    """E."""
    num_experts_per_tok: int = Field(gt=0)
    """Experts that see a token."""
    intermediate_size: int = Field(gt=0, le=MOST)
    """Width inside one expert."""
    normalize_weights: bool = True
    """Whether the chosen experts' weights are divided by their sum."""
    rounded_weights: bool = False
    """Whether they are rounded to the model's precision before they are used (Qwen)."""
    shared_intermediate_size: int | None = Field(default=None, gt=0, le=MOST)
    """Width of a feed-forward that sees every token besides; None: there is none."""
    shared_gate: bool = False
    """Whether the shared expert's output is weighted by a learned sigmoid."""
    capacity_factor: float | None = Field(default=None, gt=0)
    """An expert takes at most this many times its even share, the rest passes by; None: all."""
    load_balance_coefficient: float = Field(default=0.01, ge=0)
    """Weight of the load-balance loss in training."""
    z_coefficient: float = Field(default=0.001, ge=0)
    """Weight of the router's z-loss in training."""
    layers: tuple[int, ...]
    """Blocks that have experts, from 0; GLaM: every other one."""

    @model_validator(mode="after")
    def _consistent(self) -> "ExpertsConfig":
        if self.num_experts_per_tok > self.num_experts:
            raise ValueError(
                f"num_experts_per_tok {self.num_experts_per_tok} is more than "
                f"num_experts {self.num_experts}"
            )
        if self.num_experts * self.intermediate_size > MOST:
            raise ValueError(
                f"{self.num_experts} experts of intermediate_size {self.intermediate_size} "
                f"are together wider than {MOST:,}"
            )
        return self


class HeadConfig(Config):
    """What stands on top of the last hidden states, and what it is for."""

    task: Task
    """What the model gives."""
    labels: tuple[str, ...] = ()
    """Names of the classes or tags, in the order of the logits."""
    num_labels: int = Field(default=2, gt=0, le=MOST)
    """Number of logits; 1: a score."""
    pooling: Literal["first", "mean", "last", "eos"] = "first"
    """Which token speaks for the sequence: the first, the mean of all, the last that is not
    padding, the last end-of-sequence token."""
    hidden: bool = False
    """Whether a dense layer with `activation` comes before the projection."""
    activation: Activation = "tanh"
    """Of the dense layer."""
    hidden_bias: bool = True
    """Whether the dense layer has a bias."""
    norm: bool = False
    """Whether a norm follows the dense layer."""
    bias: bool = True
    """Whether the projection has a bias."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """In training, before the projection."""
    hidden_dropout: bool = False
    """Whether `dropout` also holds before the dense layer."""
    normalize: bool = True
    """embedding: whether vectors have length 1."""
    max_length: int | None = Field(default=None, gt=0)
    """embedding: texts are cut to so many tokens; None: to what the model can read."""
    crf: bool = False
    """token_classification: whether a linear-chain CRF scores whole tag sequences."""
    tag_scheme: Literal["BIO", "BIOES"] | None = None
    """With `crf`: what the labels' names forbid to follow each other; None: nothing."""

    @model_validator(mode="after")
    def _consistent(self) -> "HeadConfig":
        if self.labels and len(self.labels) != self.num_labels:
            raise ValueError(
                f"{len(self.labels)} labels are named, num_labels is {self.num_labels}"
            )
        if self.tag_scheme is not None and not (self.crf and self.labels):
            raise ValueError("tag_scheme needs crf and labels")
        return self


class TransformerConfig(Config):
    """Everything that decides the weights' shapes and what is computed with them."""

    model_type: str = "llama"
    """Family: which published layout the folder on disk follows."""
    architecture: Architecture = "decoder"
    """`decoder`: causal; `encoder`: bidirectional; `encoder_decoder`: both, joined by
    cross-attention."""
    vocab_size: int = Field(gt=0, le=MOST)
    """V, rows of the embedding."""
    hidden_size: int = Field(gt=0, le=MOST)
    """D, width of the residual stream."""
    intermediate_size: int = Field(gt=0, le=MOST)
    """Width inside the feed-forward layer."""
    num_hidden_layers: int = Field(gt=0, le=MOST_BLOCKS)
    """Number of blocks; of the encoder's where there is also a decoder."""
    num_decoder_layers: int | None = Field(default=None, gt=0, le=MOST_BLOCKS)
    """Number of the decoder's blocks in an encoder-decoder; None: as many as the encoder's."""
    num_attention_heads: int = Field(gt=0, le=MOST)
    """H, query heads."""
    num_key_value_heads: int = Field(gt=0, le=MOST)
    """Heads of keys and values; query heads share them in equal groups."""
    head_dim: int = Field(gt=0, le=MOST)
    """K, width of one head."""
    max_position_embeddings: int = Field(default=32_768, gt=0, le=MOST)
    """Longest sequence that the model is meant for, in tokens."""
    token_type_vocab_size: int = Field(default=0, ge=0, le=MOST)
    """Kinds of token (BERT's segments); 0: no such embedding."""

    norm: Literal["rms_norm", "layer_norm"] = "rms_norm"
    """Kind of normalisation."""
    norm_eps: float = Field(default=1e-6, gt=0)
    """Added to the (mean) square before the root."""
    norm_bias: bool = True
    """layer_norm: whether it adds a learned bias."""
    norm_plus_one: bool = False
    """rms_norm: whether the stored weight is what is added to 1 (Gemma)."""
    norm_placement: Literal["pre", "post", "both"] = "pre"
    """Norms before each layer, after each addition (the original Transformer, BERT), or before
    each layer and on its output (Gemma 2)."""
    first_norm: bool = True
    """Whether the first block's attention has its norm before (ModernBERT's has not)."""
    final_norm: bool = True
    """Whether a norm follows the last block."""
    embedding_norm: bool = False
    """Whether a norm follows the embeddings."""
    parallel_residual: bool = False
    """Whether attention and feed-forward read the same stream and are added together (NeoX)."""

    positions: Positions = "rotary"
    """How a token knows where it stands; `relative` is T5's bias."""
    position_rule: Literal["index", "attention_mask", "non_padding"] = "index"
    """Position ids where none are given: the column; the number of real tokens before, by the
    attention mask or by `pad_token_id`."""
    position_offset: int = Field(default=0, ge=0, le=MOST)
    """learned, sinusoidal: row of the table that position 0 reads."""
    rope_theta: float = Field(default=10_000.0, gt=0)
    """Base of the rotary frequencies."""
    rope_local_theta: float | None = Field(default=None, gt=0)
    """The same for sliding layers; None: as the others."""
    rope_scaling: RopeScaling | None = None
    """Of the layers that see everything."""
    rotary_in_float32: bool = False
    """Whether heads in half precision are turned in float32 and rounded once, as some published
    models were trained, or rounded after each product, as most were."""
    rotary_dim: int | None = Field(default=None, gt=0)
    """How much of a head is rotated, from its start; None: all."""
    relative_buckets: int = Field(default=32, gt=0, le=MOST)
    """relative: number of biases a head has in one direction pair."""
    relative_max_distance: int = Field(default=128, gt=0)
    """relative: from here on all distances share a bucket."""

    attention_bias: bool = False
    """Whether the projections to queries, keys and values have a bias."""
    attention_output_bias: bool = False
    """Whether the projection back has a bias."""
    query_key_norm: bool = False
    """Whether queries and keys are normalised head by head."""
    attention_scale: float | None = Field(default=None, gt=0)
    """Factor of the dot products; None: 1 / sqrt(K)."""
    attention_soft_cap: float | None = Field(default=None, gt=0)
    """c in c * tanh(score / c)."""
    sliding_window: int | None = Field(default=None, gt=0)
    """How many positions, its own included, a token of a sliding layer sees to its left (and, in
    an encoder, to its right)."""
    layer_types: tuple[LayerType, ...] = ()
    """Kind of attention of each block; left out: all full."""

    activation: Activation = "silu"
    """Of the feed-forward layer."""
    gated: bool = True
    """Whether the activation multiplies a second projection (SwiGLU, GeGLU)."""
    feed_forward_bias: bool = False
    """Whether the feed-forward's projections have a bias."""
    experts: ExpertsConfig | None = None
    """Mixture of experts in some blocks."""

    embedding_scale: float = Field(default=1.0, gt=0)
    """Factor of the token embeddings."""
    round_embedding_scale: bool = True
    """Whether this factor is rounded to the embeddings' dtype first, as Gemma was trained."""
    tie_word_embeddings: bool = False
    """Whether the output projection is the embedding itself."""
    output_scale: float = Field(default=1.0, gt=0)
    """Factor of the last hidden states before the output projection (T5)."""
    output_bias: bool = False
    """Whether the output projection has a bias."""
    final_logit_soft_cap: float | None = Field(default=None, gt=0)
    """c in c * tanh(logit / c)."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """In training: of embeddings and of what a layer adds to the stream."""
    attention_dropout: float = Field(default=0.0, ge=0, lt=1)
    """In training: of attention weights."""
    activation_dropout: float = Field(default=0.0, ge=0, lt=1)
    """In training: inside the feed-forward layer."""
    initializer_range: float = Field(default=0.02, gt=0)
    """Standard deviation of the embedding at the start of training."""

    bos_token_id: int | None = None
    """Token that begins a document."""
    eos_token_id: int | tuple[int, ...] | None = None
    """Token, or tokens, that end a generation."""
    pad_token_id: int | None = None
    """Token that fills short rows."""
    decoder_start_token_id: int | None = None
    """Token that a decoder fed by an encoder begins with."""
    head: HeadConfig | None = None
    """What stands on top; None: a language model's output projection, or nothing on an encoder."""

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
        if self.num_attention_heads * self.head_dim > MOST:
            raise ValueError(
                f"{self.num_attention_heads} heads of head_dim {self.head_dim} "
                f"are together wider than {MOST:,}"
            )
        rotated = self.rotary_dim or self.head_dim
        if self.positions == "rotary" and rotated % 2:
            name = "head_dim" if self.rotary_dim is None else "rotary_dim"
            raise ValueError(f"{name} {rotated} is odd; rotary positions rotate pairs")
        if rotated > self.head_dim:
            raise ValueError(f"rotary_dim {rotated} is more than head_dim {self.head_dim}")
        if len(self.layer_types) != self.num_hidden_layers:
            raise ValueError(
                f"layer_types names {len(self.layer_types)} layers, "
                f"num_hidden_layers is {self.num_hidden_layers}"
            )
        if "sliding_attention" in self.layer_types and self.sliding_window is None:
            raise ValueError("layer_types has sliding_attention, but sliding_window is not set")
        if self.parallel_residual and self.norm_placement != "pre":
            raise ValueError("parallel_residual needs norm_placement pre")
        for layer in self.experts.layers if self.experts else ():
            if not 0 <= layer < self.num_hidden_layers:
                raise ValueError(
                    f"experts.layers names block {layer}, there are {self.num_hidden_layers}"
                )
        return self

    @property
    def task(self) -> Task:
        """What the model gives."""
        if self.head is not None:
            return self.head.task
        tasks: Mapping[Architecture, Task] = {
            "decoder": "causal_lm",
            "encoder": "backbone",
            "encoder_decoder": "sequence_to_sequence",
        }
        return tasks[self.architecture]

    @property
    def decoder_layers(self) -> int:
        """Number of blocks of the decoder of an encoder-decoder."""
        return self.num_decoder_layers or self.num_hidden_layers

    def window(self, layer: int) -> int | None:
        """How many positions a token of this layer sees; None: all."""
        # A decoder fed by an encoder may have more blocks than layer_types speaks of: all full.
        if layer >= len(self.layer_types) or self.layer_types[layer] == "full_attention":
            return None
        return self.sliding_window

    def has_experts(self, layer: int) -> bool:
        """Whether this block's feed-forward layer is a mixture of experts."""
        return self.experts is not None and layer in self.experts.layers

    @classmethod
    def from_hf(cls, values: Mapping[str, Any], task: Task | None = None) -> "TransformerConfig":
        """Read the content of a published `config.json`.

        Args:
            values: the content.
            task: what the model is wanted for; None: what its `architectures` say.

        Raises:
            LmwrightError: if the family is not known, or the file asks for what our blocks lack.
        """
        from lmwright.models import families

        return cls.model_validate(families.find(values).read_config(values, task))

    def to_hf(self) -> dict[str, Any]:
        """The content of `config.json` as transformers expects it, weights' dtype left out.

        Raises:
            LmwrightError: if the family cannot express this config.
        """
        from lmwright.models import families

        return families.named(self.model_type).write_config(self)
