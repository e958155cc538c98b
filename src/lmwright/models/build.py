"""From a config to a model: the one place that knows which class serves which task."""

from torch import nn

from lmwright.models import heads
from lmwright.models.config import Task, TransformerConfig
from lmwright.models.encoder import Encoder
from lmwright.models.encoder_decoder import EncoderDecoder
from lmwright.models.transformer import Decoder

_HEADED: dict[Task, type[heads.Headed]] = {
    "masked_lm": heads.MaskedLM,
    "sequence_classification": heads.SequenceClassifier,
    "reward": heads.SequenceClassifier,
    "token_classification": heads.TokenClassifier,
    "span_qa": heads.SpanFinder,
    "embedding": heads.Embedder,
}


def build(config: TransformerConfig) -> nn.Module:
    """An uninitialised model for the config's task.

    Args:
        config: its architecture and its head decide the class: `Decoder`, `Encoder`,
            `EncoderDecoder`, or a class of `heads` over one of them.
    """
    task = config.task
    if task in _HEADED:
        return _HEADED[task](config)
    if config.architecture == "decoder":
        return Decoder(config, output=task != "backbone")
    if config.architecture == "encoder":
        return Encoder(config)
    return EncoderDecoder(config, output=task != "backbone")
