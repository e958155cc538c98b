"""Steps of the training room, and their configuration."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lmwright.core.config import Config
from lmwright.core.duration import Duration
from lmwright.pipeline.step import StepType

OptimizerName = Literal["muon", "adamw", "adam", "sgd", "rmsprop", "adafactor", "lion"]

LEARNING_RATES: Mapping[OptimizerName, float] = {
    "muon": 4e-3,  # of AdamW, for what is no matrix
    "adamw": 4e-3,
    "adam": 4e-3,
    "sgd": 0.1,
    "rmsprop": 1e-3,
    "adafactor": 3e-2,  # of each weight's own size
    "lion": 1.2e-3,  # a third of AdamW's; Chen et al. 2023 say a third to a tenth (section 5)
}
"""Near the best of the peaks tried on a byte-level decoder of 0.1 M parameters for 200 steps; who
wants the best one for a model of their own sweeps."""

ScheduleName = Literal[
    "warmup_stable_decay",
    "linear",
    "cosine",
    "inverse_square_root",
    "plateau_inverse_square_root",
    "constant",
]

_USED_BY: Mapping[str, tuple[OptimizerName, ...]] = {
    "momentum": ("sgd", "rmsprop", "muon"),
    "betas": ("adam", "adamw", "lion", "muon"),
    "nesterov": ("sgd",),
}


class LoopConfig(Config):
    """What every training step may set; `auto` is measured on this machine and recorded."""

    budget: Duration | None = None
    """How long: `3m`, `2000 steps`, `10M tokens`; without it, the step's share of the recipe's."""
    batch_tokens: int = Field(4096, gt=0)
    """Tokens per optimiser step, whatever the micro-batch."""
    optimizer: OptimizerName = "muon"
    """`muon`: Muon for the blocks' matrices, AdamW for the rest. All others take every weight."""
    learning_rate: float | None = Field(None, gt=0)
    """The peak; `adafactor`'s is relative to the size of each weight. Without it: 4e-3 for `muon`
    (its AdamW), `adamw` and `adam`, 1e-3 for `rmsprop`, 0.1 for `sgd`, 3e-2 for `adafactor`,
    1.2e-3 for `lion`."""
    matrix_learning_rate: float = Field(0.02, gt=0)
    """Muon's peak."""
    momentum: float | None = Field(None, ge=0, lt=1)
    """Of `sgd` (0.9 without it), `rmsprop` (0) and `muon` (0.95)."""
    nesterov: bool = False
    """Whether `sgd` looks ahead by its momentum; `muon` always does."""
    betas: tuple[float, float] | None = None
    """Memory of the gradient and of its square, for `adam`, `adamw` and `muon`'s AdamW (0.9, 0.95
    without it); of `lion` in the update and in the momentum (0.9, 0.99)."""
    weight_decay: float = Field(0.0, ge=0)
    """On matrices and embeddings, never on norms and biases. Decoupled; for `sgd`, `adam` and
    `rmsprop` added to the gradient, as their authors have it."""
    schedule: ScheduleName = "warmup_stable_decay"
    """The learning rate after the warm-up: stays, then falls in a line; falls in a line, or as a
    cosine, to 2 %; falls with one over the root of the step, with the warm-up as a rise
    (`inverse_square_root`) or held at the peak (`plateau_inverse_square_root`); stays."""
    warmup: float = Field(0.02, ge=0, le=1)
    """Share of the steps in which the learning rate rises."""
    decay: float = Field(0.6, ge=0, le=1)
    """Share of the steps, at the end, in which it falls, for `warmup_stable_decay`."""
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
    """Of the initial weights, the order of the data, and dropout."""

    @property
    def peak(self) -> float:
        """The learning rate, or the optimiser's usual one."""
        return self.learning_rate or LEARNING_RATES[self.optimizer]

    @model_validator(mode="after")
    def _refuse_keys_without_use(self) -> Self:
        """A key that the chosen optimiser does not have would silently do nothing."""
        given = {"momentum": self.momentum, "betas": self.betas, "nesterov": self.nesterov or None}
        for key, optimizers in _USED_BY.items():
            if given[key] is not None and self.optimizer not in optimizers:
                raise ValueError(
                    f"{key} goes with {', '.join(optimizers)}, not with {self.optimizer}"
                )
        if self.betas is not None and not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must lie in 0..1, and are {self.betas}")
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov looks ahead by the momentum, which is 0")
        return self


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
    least_steps: int | None = Field(None, gt=0)
    """Of a training as long as a budget in time: a machine too slow for so many steps of this
    shape trains the first of `smaller` that it can, or else the last."""
    smaller: tuple[dict[str, int], ...] = ()
    """Other shapes, largest first: what they change of the keys above."""

    @model_validator(mode="after")
    def _possible_smaller_shapes(self) -> Self:
        """Refuse before the first step what would stop the training at its own."""
        from lmwright.core.errors import LmwrightError
        from lmwright.training.shape import KEYS, USUAL_VOCABULARY, transformer_config

        if bool(self.smaller) != (self.least_steps is not None):
            raise ValueError("least_steps and smaller go together")
        for changes in self.smaller:
            if unknown := sorted(changes.keys() - set(KEYS)):
                raise ValueError(f"smaller: {unknown[0]} is not one of {', '.join(KEYS)}")
            try:
                transformer_config(self.model_copy(update=changes), USUAL_VOCABULARY)
            except LmwrightError as error:
                raise ValueError(f"smaller: {error.what}") from error
        return self


class PretrainConfig(ShapeConfig):
    """Train a transformer of any family from nothing on packed text.

    A decoder learns to predict the next token, an encoder hidden tokens, an encoder-decoder the
    pieces that were cut out.
    """

    family: str = "qwen3"
    """Whose layout it has: gpt2, llama, bloom, bert, t5, mixtral, ...; `lmwright`: any mixture of
    our blocks."""
    shape: dict[str, Any] = Field(default_factory=dict)
    """More fields of `models.config.TransformerConfig`, such as `{positions: alibi}`."""


class SFTConfig(ShapeConfig):
    """Teach a model to answer: train on the assistant's tokens of packed conversations.

    The shape counts only where there is no base model to start from.
    """

    implementation: Literal["lmwright", "transformers"] = "lmwright"
    """Whose code the base model runs on: `transformers` trains families that we lack."""
    prompts: bool = False
    """Whether the questions are predicted too, not the answers alone."""
    text_fraction: float = Field(0.1, ge=0, lt=1)
    """Share of each batch's rows that stay plain text, so that the model keeps what it read."""


class TaskConfig(LoopConfig):
    """What the training steps of labelled tasks share."""

    optimizer: OptimizerName = "adamw"
    """As for every training step; AdamW alone, since embeddings are most of these models."""
    learning_rate: float | None = Field(1e-3, gt=0)
    """The peak; None: the optimiser's usual one."""
    weight_decay: float = Field(0.01, ge=0)
    """On matrices and embeddings."""
    batch_tokens: int = Field(2048, gt=0)
    """Tokens per optimiser step at most, padding and targets included."""
    compile: Literal["auto", "on", "off"] = "off"
    """`torch.compile` of a transformer's blocks; each length of examples is compiled anew."""
    epochs: float = Field(20.0, gt=0)
    """Most times that the data is seen, whatever the budget allows."""
    evaluations: int = Field(10, ge=1)
    """How often the validation split is measured; the best of the models measured is kept."""
    validation_examples: int = Field(1000, gt=0)
    """At most so many validation examples are measured, evenly spread."""
    chosen_by: (
        Literal["loss", "accuracy", "macro_f1", "matthews", "entity_f1", "exact_match"] | None
    ) = None
    """What the best model is chosen by; without it accuracy, of names F1, of answers
    exact match, of texts the loss."""
    architecture: str
    """What is trained."""

    TASK: ClassVar[str] = "classification"
    shape: dict[str, Any] = Field(default_factory=dict)
    """Fields of the model's own config that differ from the usual: `{hidden_size: 256}`. See
    `models.classic_config`, and for transformers `models.config.TransformerConfig`."""

    @model_validator(mode="after")
    def _possible_shape(self) -> Self:
        """Refuse before the first step what would stop the training at its own."""
        from lmwright.core.errors import LmwrightError
        from lmwright.training.task_shapes import model_config, usual_needs

        try:
            model_config(self.kind_of_model(), self.shape, usual_needs(self.TASK))
        except LmwrightError as error:
            raise ValueError(f"shape: {error.what}") from error
        return self

    def kind_of_model(self) -> dict[str, str]:
        """The fields of the model's config that the architecture decides."""
        return {"model_type": self.architecture}


class ClassifyConfig(TaskConfig):
    """Teach a model the class of a text or of a pair of texts, or a number for it."""

    architecture: Literal["perceptron", "text_cnn", "recurrent", "encoder"] = "encoder"
    """What is trained where there is no model to start from; `encoder`: a transformer."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of a label's probability that all classes divide."""


class TagConfig(TaskConfig):
    """Teach a model the tag of every word."""

    TASK: ClassVar[str] = "tagging"

    architecture: Literal["recurrent", "encoder"] = "encoder"
    """What is trained where there is no model to start from; `encoder`: a transformer."""

    def kind_of_model(self) -> dict[str, str]:
        """The fields of the model's config that the architecture and the task decide."""
        return {"model_type": self.architecture} | (
            {"task": "token_classification"} if self.architecture == "recurrent" else {}
        )


class AnswerConfig(TaskConfig):
    """Teach a model to find the answer to a question in a text, as a span of it."""

    TASK: ClassVar[str] = "question_answering"

    architecture: Literal["encoder"] = "encoder"
    """A transformer; from nothing it needs far more questions than from a pretrained model."""


class TranslateConfig(TaskConfig):
    """Teach a model to write a target for a source."""

    TASK: ClassVar[str] = "translation"

    architecture: Literal["recurrent", "encoder_decoder"] = "encoder_decoder"
    """What is trained where there is no model to start from; `recurrent`: with attention."""
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    """Share of a token's probability that the whole vocabulary divides."""
    batch_tokens: int = Field(4096, gt=0)
    """Tokens per optimiser step at most, sources, targets and padding."""

    def kind_of_model(self) -> dict[str, str]:
        """The fields of the model's config that the architecture and the task decide."""
        recurrent = self.architecture == "recurrent"
        return {"model_type": "recurrent_encoder_decoder" if recurrent else self.architecture}


STEPS = (
    StepType(
        name="training.pretrain",
        config=PretrainConfig,
        function="lmwright.training.steps:pretrain",
        inputs={"shards": "token_shards", "tokenizer": "tokenizer"},
        output="model",
        needs=frozenset({"text"}),
        estimate="lmwright.training.estimate:pretrain",
        summary="Train a transformer of any family from nothing on packed text",
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
    *(
        StepType(
            name=f"training.{verb}",
            config=config,
            function=f"lmwright.training.task_steps:{verb}",
            inputs={"examples": "examples", "tokenizer": "tokenizer", "model": "model"},
            optional=frozenset({"model"}),
            output="task_model",
            estimate="lmwright.training.estimate:task",
            summary=summary,
        )
        for verb, config, summary in (
            ("classify", ClassifyConfig, "Train a classifier of texts: from MLP to transformer"),
            ("tag", TagConfig, "Train a tagger of words: recurrent, with a CRF, or a transformer"),
            ("answer", AnswerConfig, "Train a reader that finds answers as spans of a text"),
            ("translate", TranslateConfig, "Train a model that writes a target for a source"),
        )
    ),
)
