"""Steps of the training room, and their configuration."""

from typing import Literal

from pydantic import Field

from lmwright.core.config import Config
from lmwright.core.duration import Duration
from lmwright.pipeline.step import StepType


class LoopConfig(Config):
    """What every training step may set; `auto` is measured on this machine and recorded."""

    budget: Duration | None = None
    """How long: `3m`, `2000 steps`, `10M tokens`; without it, the step's share of the recipe's."""
    batch_tokens: int = Field(4096, gt=0)
    """Tokens per optimiser step, whatever the micro-batch."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """`muon`: Muon for the blocks' matrices, AdamW for the rest."""
    learning_rate: float = Field(4e-3, gt=0)
    """AdamW's peak."""
    matrix_learning_rate: float = Field(0.02, gt=0)
    """Muon's peak."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled, on matrices and embeddings."""
    warmup: float = Field(0.02, ge=0, le=1)
    """Share of the steps in which the learning rate rises."""
    decay: float = Field(0.6, ge=0, le=1)
    """Share of the steps, at the end, in which it falls."""
    clip: float = Field(1.0, gt=0)
    """Largest norm of the gradient."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the products; weights and sums stay in fp32."""
    matrix_precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of Muon's own products."""
    compile: Literal["auto", "on", "off"] = "auto"
    """`torch.compile` of the blocks; `auto` where a compiler works and the time pays for it."""
    micro_rows: int | None = Field(None, gt=0)
    """Rows at once; without it the most that fit into memory."""
    checkpoint_every: Duration = Duration(20.0, "seconds")
    """What a kill can cost; in time it is turned into steps once, before the first."""
    evaluations: int = Field(4, ge=1)
    """How often the validation loss is measured."""
    seed: int = 0
    """Of the initial weights and the order of the data."""


class ShapeConfig(LoopConfig):
    """The shape of a model that starts from nothing."""

    hidden_size: int = Field(256, gt=0)
    """Width of the stream."""
    num_hidden_layers: int = Field(5, gt=0)
    """Number of blocks."""
    num_attention_heads: int = Field(4, gt=0)
    """Query heads."""
    num_key_value_heads: int = Field(2, gt=0)
    """Key and value heads; a divisor of the query heads."""
    head_dim: int = Field(64, gt=0)
    """Width of a head."""
    intermediate_size: int = Field(704, gt=0)
    """Width of the feed-forward."""
    max_position_embeddings: int = Field(512, gt=0)
    """Longest context the model admits to."""


class PretrainConfig(ShapeConfig):
    """Train a decoder from nothing on packed text."""


class SFTConfig(ShapeConfig):
    """Teach a model to answer: train on the assistant's tokens of packed conversations.

    The shape counts only where there is no base model to start from.
    """

    prompts: bool = False
    """Whether the questions are predicted too, not the answers alone."""
    text_fraction: float = Field(0.1, ge=0, lt=1)
    """Share of each batch's rows that stay plain text, so that the model keeps what it read."""


STEPS = (
    StepType(
        name="training.pretrain",
        config=PretrainConfig,
        function="lmwright.training.steps:pretrain",
        inputs={"shards": "token_shards", "tokenizer": "tokenizer"},
        output="model",
        needs=frozenset({"text"}),
        estimate="lmwright.training.estimate:pretrain",
        summary="Train a decoder from nothing on packed text",
    ),
    StepType(
        name="training.sft",
        config=SFTConfig,
        function="lmwright.training.steps:sft",
        inputs={
            "shards": "token_shards",
            "text": "token_shards",
            "model": "model",
            "tokenizer": "tokenizer",
        },
        optional=frozenset({"text", "model"}),
        output="model",
        needs=frozenset({"chats"}),
        estimate="lmwright.training.estimate:pretrain",
        summary="Fine-tune on conversations, training the assistant's tokens only",
    ),
)
