"""What the models before attention cost, from their configs alone: parameters and operations.

Counted as in `accounting`: matrix products, a multiplication and an addition as two; activations,
norms, softmax and a CRF's sums (C^2 for a token) are left out. No torch here.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from lmwright.models.accounting import BACKWARD
from lmwright.models.classic_config import (
    CellKind,
    ClassicConfig,
    PerceptronConfig,
    RecurrentConfig,
    RecurrentEncoderDecoderConfig,
    TextCNNConfig,
    classic_config,
)

_GATES: Mapping[CellKind, int] = {"rnn": 1, "gru": 3, "lstm": 4}


def parameters(config: ClassicConfig | Mapping[str, Any]) -> dict[str, int]:
    """Number of parameters by part, and `total`; a tied output projection counts once.

    Args:
        config: a config, or the content of a config.json.
    """
    c = _config(config)
    if isinstance(c, PerceptronConfig):
        parts = _perceptron_parameters(c)
    elif isinstance(c, TextCNNConfig):
        parts = _cnn_parameters(c)
    elif isinstance(c, RecurrentConfig):
        parts = _recurrent_parameters(c)
    else:
        parts = _encoder_decoder_parameters(c)
    parts = {"embedding": c.vocab_size * c.embedding_size} | parts
    return parts | {"total": sum(parts.values())}


def flops_per_row(
    config: ClassicConfig | Mapping[str, Any],
    length: int,
    training: bool,
    *,
    target_length: int = 0,
) -> float:
    """Operations of matrix products for one text, its head included.

    Args:
        config: a config, or the content of a config.json.
        length: tokens of the text, or of an encoder-decoder's source.
        training: count the backward pass too (three times the forward pass in all).
        target_length: tokens that an encoder-decoder writes.
    """
    c = _config(config)
    if isinstance(c, PerceptronConfig):
        widths = [c.embedding_size] + [c.hidden_size] * c.num_layers + [c.num_labels]
        forward = length * c.embedding_size  # the mean
        forward += sum(a * b for a, b in pairwise(widths))
    elif isinstance(c, TextCNNConfig):
        # Windows may hang over both ends.
        forward = sum(
            (length + width - 1) * width * c.embedding_size * c.num_filters for width in c.widths
        )
        forward += len(c.widths) * c.num_filters * c.num_labels
    elif isinstance(c, RecurrentConfig):
        forward = _recurrent_products(c, length)
    else:
        forward = _encoder_decoder_products(c, length, target_length)
    return 2.0 * forward * (1.0 + BACKWARD if training else 1.0)


def flops_per_token(
    config: ClassicConfig | Mapping[str, Any],
    length: int,
    training: bool,
    *,
    target_length: int = 0,
) -> float:
    """`flops_per_row` shared by the row's tokens, source and target."""
    return flops_per_row(config, length, training, target_length=target_length) / (
        length + target_length
    )


def _network(kind: CellKind, inputs: int, width: int, layers: int, directions: int) -> int:
    """Parameters of a torch.nn network without its biases: what multiplies every token."""
    above = directions * width
    return _GATES[kind] * width * directions * ((inputs + width) + (layers - 1) * (above + width))


def _biases(kind: CellKind, width: int, layers: int, directions: int) -> int:
    return 2 * _GATES[kind] * width * layers * directions


def _perceptron_parameters(c: PerceptronConfig) -> dict[str, int]:
    widths = [c.embedding_size] + [c.hidden_size] * c.num_layers
    bias = 2 if c.batch_norm else 1  # the norm's scale and shift, or a bias
    hidden = sum(a * b + bias * b for a, b in pairwise(widths))
    return {"hidden": hidden, "output": (widths[-1] + 1) * c.num_labels}


def _cnn_parameters(c: TextCNNConfig) -> dict[str, int]:
    bias = 2 if c.batch_norm else 1
    filters = sum(c.num_filters * (width * c.embedding_size + bias) for width in c.widths)
    return {
        "filters": filters,
        "output": (len(c.widths) * c.num_filters + 1) * c.num_labels,
    }


def _recurrent_parameters(c: RecurrentConfig) -> dict[str, int]:
    shape = (c.num_layers, 2 if c.bidirectional else 1)
    recurrent = _network(c.cell, c.embedding_size, c.hidden_size, *shape)
    recurrent += _biases(c.cell, c.hidden_size, *shape)
    if c.task != "causal_lm":
        crf = c.num_labels * (c.num_labels + 2) if c.crf else 0
        return {
            "recurrent": recurrent,
            "output": (c.output_size + 1) * c.num_labels,
            "crf": crf,
        }
    return {"recurrent": recurrent, "output": _lm_output(c, stored=True)}


def _lm_output(c: RecurrentConfig, *, stored: bool) -> int:
    """Weights behind a language model's states; `stored`: without those that are the embedding."""
    if not c.tie_word_embeddings:
        return c.hidden_size * c.vocab_size
    bridge = c.hidden_size * c.embedding_size if c.hidden_size != c.embedding_size else 0
    return bridge + (0 if stored else c.embedding_size * c.vocab_size)


def _recurrent_products(c: RecurrentConfig, length: int) -> int:
    directions = 2 if c.bidirectional else 1
    token = _network(c.cell, c.embedding_size, c.hidden_size, c.num_layers, directions)
    if c.task == "causal_lm":
        return length * (token + _lm_output(c, stored=False))
    head = c.output_size * c.num_labels
    return length * token + head * (length if c.task == "token_classification" else 1)


def _decoder_input(c: RecurrentEncoderDecoderConfig) -> int:
    """Width of what the decoder's first recurrent layer reads."""
    if c.attention == "bahdanau":
        return c.embedding_size + c.memory_size
    return c.embedding_size + (c.output_size if c.input_feeding else 0)


def _combine(c: RecurrentEncoderDecoderConfig) -> int:
    """Matrix between the decoder's states and its output projection."""
    if c.attention == "bahdanau":
        return 2 * c.output_size * (c.hidden_size + c.memory_size + c.embedding_size)
    if c.attention == "none":
        return c.hidden_size * c.output_size if c.hidden_size != c.output_size else 0
    return c.output_size * (c.hidden_size + c.memory_size)


def _encoder_decoder_parameters(c: RecurrentEncoderDecoderConfig) -> dict[str, int]:
    shape = (c.num_layers, 2 if c.bidirectional else 1)
    width, memory = c.hidden_size, c.memory_size
    encoder = _network(c.cell, c.embedding_size, c.source_size, *shape)
    encoder += _biases(c.cell, c.source_size, *shape)
    bridge = (memory + 1) * width * (2 if c.cell == "lstm" else 1)
    decoder = _network(c.cell, _decoder_input(c), width, c.num_layers, 1)
    decoder += _biases(c.cell, width, c.num_layers, 1) + _combine(c)
    attention = {
        "none": 0,
        "luong_dot": 0,
        "luong_general": memory * width,
        "bahdanau": (width + memory + 2) * width,
    }[c.attention]
    if c.attention == "bahdanau":
        decoder += 2 * c.output_size  # the maxout's bias
    target = 0 if c.share_embeddings else c.output_vocab_size * c.embedding_size
    output = 0 if c.tie_word_embeddings else c.output_vocab_size * c.output_size
    return {
        "target_embedding": target,
        "encoder": encoder,
        "bridge": bridge,
        "attention": attention,
        "decoder": decoder,
        "output": output,
    }


def _encoder_decoder_products(c: RecurrentEncoderDecoderConfig, source: int, target: int) -> int:
    directions = 2 if c.bidirectional else 1
    width, memory = c.hidden_size, c.memory_size
    read = _network(c.cell, c.embedding_size, c.source_size, c.num_layers, directions)
    row = c.num_layers * memory * width * (2 if c.cell == "lstm" else 1)  # the bridge
    write = _network(c.cell, _decoder_input(c), width, c.num_layers, 1) + _combine(c)
    write += c.output_size * c.output_vocab_size
    if c.attention in ("luong_general", "bahdanau"):
        read += memory * width  # keys
    if c.attention != "none":
        write += source * (width + memory)  # scores and weighted mean
    if c.attention == "bahdanau":
        write += width * width  # the query's share
    return source * read + row + target * write


def _config(config: ClassicConfig | Mapping[str, Any]) -> ClassicConfig:
    return classic_config(config) if isinstance(config, Mapping) else config
