"""The shapes of what came before attention: perceptron, text CNN, recurrent networks; no torch.

Their folders are our own format: config.json is these fields, `model_type` among them.
"""

import difflib
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from lmwright.core.config import Config, first_problem
from lmwright.core.errors import LmwrightError

Activation = Literal["relu", "tanh", "gelu"]
CellKind = Literal["rnn", "lstm", "gru"]
AttentionKind = Literal["none", "luong_dot", "luong_general", "bahdanau"]


class _TextConfig(Config):
    """What every model over token ids needs."""

    vocab_size: int = Field(gt=0)
    """V, rows of the embedding."""
    embedding_size: int = Field(default=128, gt=0)
    """Width of a token's vector."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of values zeroed while training; where, each model's docstring says."""
    initializer_range: float = Field(default=0.1, gt=0)
    """Standard deviation of the embedding at the start of training."""
    freeze_embeddings: bool = False
    """Whether the embedding stays as given: for word vectors learned elsewhere."""
    bos_token_id: int | None = None
    """Token that begins a text."""
    eos_token_id: int | tuple[int, ...] | None = None
    """Token, or tokens, that end a generation."""
    pad_token_id: int | None = None
    """Token that fills short rows; what is padding the attention mask says, not this."""


class _LabelledConfig(_TextConfig):
    """A model that may end in classes."""

    num_labels: int = Field(default=2, gt=0)
    """C, number of classes."""
    labels: tuple[str, ...] = ()
    """Name of each class, in the order of the logits; left out: they have only numbers."""

    @model_validator(mode="after")
    def _one_name_per_label(self) -> Self:
        if self.labels and len(self.labels) != self.num_labels:
            raise ValueError(
                f"labels names {len(self.labels)} classes, num_labels is {self.num_labels}"
            )
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels has a name twice")
        return self


class PerceptronConfig(_LabelledConfig):
    """A deep averaging network: an MLP over the mean of the tokens' vectors."""

    model_type: Literal["perceptron"] = "perceptron"
    """Says in config.json which of our models this is."""
    hidden_size: int = Field(default=256, gt=0)
    """D, width of the hidden layers."""
    num_layers: int = Field(default=2, ge=0)
    """Hidden layers; 0: a linear classifier over the mean."""
    activation: Activation = "relu"
    """What follows each hidden layer."""
    batch_norm: bool = False
    """Whether hidden layers are normalised over the batch, before their activation."""
    word_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of whole tokens left out of the mean while training."""


class TextCNNConfig(_LabelledConfig):
    """One layer of convolutions of several widths, the maximum over time of each."""

    model_type: Literal["text_cnn"] = "text_cnn"
    """Says in config.json which of our models this is."""
    widths: tuple[int, ...] = Field(default=(3, 4, 5), min_length=1)
    """Tokens that a filter sees, one group of filters for each."""
    num_filters: int = Field(default=100, gt=0)
    """Filters of each width."""
    activation: Activation = "relu"
    """What follows a convolution."""
    batch_norm: bool = False
    """Whether convolutions are normalised over the batch, before their activation."""

    @model_validator(mode="after")
    def _widths_are_positive(self) -> Self:
        if min(self.widths) < 1 or len(set(self.widths)) != len(self.widths):
            raise ValueError(f"widths {self.widths} must be positive and different")
        return self


class RecurrentConfig(_LabelledConfig):
    """An RNN, LSTM or GRU that reads a text and classifies it, tags it, or goes on with it."""

    model_type: Literal["recurrent"] = "recurrent"
    """Says in config.json which of our models this is."""
    task: Literal["sequence_classification", "token_classification", "causal_lm"] = (
        "sequence_classification"
    )
    """What is read off the states."""
    cell: CellKind = "lstm"
    """What a step computes."""
    hidden_size: int = Field(default=256, gt=0)
    """D, width of a state, in each direction."""
    num_layers: int = Field(default=1, gt=0)
    """Recurrent layers, each reading the states of the one below."""
    bidirectional: bool = False
    """Whether a second network reads from the end."""
    pooling: Literal["last", "max", "mean"] = "last"
    """How a text's states become one vector, where the text is classified."""
    crf: bool = False
    """Whether a tagger scores whole tag sequences by a conditional random field."""
    tag_scheme: Literal["BIO", "BIOES"] | None = None
    """Scheme of the labels, whose impossible transitions the CRF then never takes."""
    tie_word_embeddings: bool = False
    """Whether a language model's output projection is the embedding itself."""

    @model_validator(mode="after")
    def _fits_the_task(self) -> Self:
        if self.task == "causal_lm" and self.bidirectional:
            raise ValueError("a causal_lm must not see what follows: bidirectional must be false")
        if self.crf and self.task != "token_classification":
            raise ValueError(f"crf tags tokens; task is {self.task}")
        if self.tag_scheme is not None and not (self.crf and self.labels):
            raise ValueError("tag_scheme constrains a CRF over named labels: set crf and labels")
        if self.tie_word_embeddings and self.task != "causal_lm":
            raise ValueError(f"tie_word_embeddings is for causal_lm; task is {self.task}")
        return self

    @property
    def output_size(self) -> int:
        """Width of a step's output, both directions side by side."""
        return self.hidden_size * (2 if self.bidirectional else 1)


class RecurrentEncoderDecoderConfig(_TextConfig):
    """Two recurrent networks, one that reads the source and one that writes the target."""

    model_type: Literal["recurrent_encoder_decoder"] = "recurrent_encoder_decoder"
    """Says in config.json which of our models this is."""
    target_vocab_size: int | None = Field(default=None, gt=0)
    """V of the target side; None: the source's `vocab_size`."""
    cell: CellKind = "gru"
    """What a step computes, on both sides."""
    hidden_size: int = Field(default=256, gt=0)
    """D, width of the decoder's state."""
    encoder_hidden_size: int | None = Field(default=None, gt=0)
    """Width of an encoder's state in each direction; None: such that both together are D wide."""
    num_layers: int = Field(default=1, gt=0)
    """Recurrent layers of each side."""
    bidirectional: bool = True
    """Whether the encoder reads from both ends."""
    attention: AttentionKind = "luong_general"
    """How the decoder looks at the source; none: only through the encoder's last state."""
    input_feeding: bool = False
    """Whether a step also reads the attentional vector of the step before (Luong section 3.3);
    it then cannot run all steps at once."""
    share_embeddings: bool = False
    """Whether both sides use one embedding."""
    tie_word_embeddings: bool = False
    """Whether the output projection is the decoder's embedding itself."""
    decoder_start_token_id: int | None = None
    """Token that the decoder reads first."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        directions = 2 if self.bidirectional else 1
        if self.encoder_hidden_size is None and self.hidden_size % directions:
            raise ValueError(
                f"hidden_size {self.hidden_size} is odd; two directions cannot share it equally"
            )
        if self.attention == "luong_dot" and self.memory_size != self.hidden_size:
            raise ValueError(
                f"luong_dot multiplies states of one width; the encoder's are "
                f"{self.memory_size} wide, the decoder's {self.hidden_size}"
            )
        if self.input_feeding and not self.attention.startswith("luong"):
            raise ValueError(f"input_feeding belongs to Luong's attention, not to {self.attention}")
        if self.share_embeddings and self.output_vocab_size != self.vocab_size:
            raise ValueError("share_embeddings needs one vocabulary on both sides")
        return self

    @property
    def source_size(self) -> int:
        """Width of an encoder's state in each direction."""
        return self.encoder_hidden_size or self.hidden_size // (2 if self.bidirectional else 1)

    @property
    def memory_size(self) -> int:
        """M, width of what the decoder looks at, one vector for each source token."""
        return self.source_size * (2 if self.bidirectional else 1)

    @property
    def output_vocab_size(self) -> int:
        """V of the target side."""
        return self.target_vocab_size or self.vocab_size

    @property
    def output_size(self) -> int:
        """Width of what the output projection multiplies."""
        return self.embedding_size if self.tie_word_embeddings else self.hidden_size


ClassicConfig = PerceptronConfig | TextCNNConfig | RecurrentConfig | RecurrentEncoderDecoderConfig

_CONFIGS: Mapping[str, type[ClassicConfig]] = {
    "perceptron": PerceptronConfig,
    "text_cnn": TextCNNConfig,
    "recurrent": RecurrentConfig,
    "recurrent_encoder_decoder": RecurrentEncoderDecoderConfig,
}
MODEL_TYPES = tuple(_CONFIGS)
"""What `model_type` says for the models of this module."""


def classic_config(values: Mapping[str, Any]) -> ClassicConfig:
    """The config that the content of a config.json, or a recipe's mapping, describes.

    Raises:
        LmwrightError: if `model_type` is none of ours, or a field is unknown or impossible.
    """
    model_type = values.get("model_type")
    if not isinstance(model_type, str) or model_type not in _CONFIGS:
        nearest = difflib.get_close_matches(str(model_type), MODEL_TYPES, n=1)
        meant = f"did you mean {nearest[0]}? " if nearest else ""
        raise LmwrightError(
            f"model_type {model_type!r} is not one of ours",
            hint=f"{meant}known: {', '.join(MODEL_TYPES)}",
        )
    try:
        return _CONFIGS[model_type].model_validate(dict(values))
    except ValidationError as error:
        raise LmwrightError(first_problem(error, _CONFIGS[model_type])) from error
