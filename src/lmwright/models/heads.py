"""What stands on a backbone: masked LM, classes, tags, spans, sentence vectors, a score.

BERT's heads: Devlin et al. 2018, section 3 and 4; sentence vectors: Reimers and Gurevych 2019,
Sentence-BERT, section 3; scalar reward: Ouyang et al. 2022, section 3.5.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmwright.models.config import HeadConfig, TransformerConfig
from lmwright.models.crf import CRF, allowed_transitions
from lmwright.models.encoder import Encoder
from lmwright.models.encoder_decoder import EncoderDecoder
from lmwright.models.initialization import initialize
from lmwright.models.layers.feed_forward import ACTIVATIONS
from lmwright.models.layers.norms import make_norm
from lmwright.models.pooling import pool
from lmwright.models.tagging import best_tags, tagging_loss
from lmwright.models.transformer import Decoder, Output

Backbone = Decoder | Encoder | EncoderDecoder


def make_backbone(config: TransformerConfig) -> Backbone:
    """The config's stack without an output projection."""
    if config.architecture == "decoder":
        return Decoder(config, output=False)
    if config.architecture == "encoder":
        return Encoder(config)
    return EncoderDecoder(config, output=False)


class Headed(nn.Module):
    """A backbone and a head; subclasses say what becomes of the hidden states.

    Args:
        config: the model's shape, with a head.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        assert config.head is not None
        self.config = config
        self.backbone = make_backbone(config)
        self.carried: dict[str, Tensor] = {}
        """Published weights that nothing here uses (BERT's pooler), kept to be written again."""

    def initialize(self, seed: int) -> None:
        """Draw fresh weights, the same for the same seed; see `initialization.initialize`."""
        initialize(self, torch.Generator().manual_seed(seed))

    def hidden_states(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        **others: Any,
    ) -> Tensor:
        """The backbone's last hidden states (B, T, D); see `Stack.hidden_states`.

        An encoder-decoder reads the sequence twice: its decoder gets it shifted right, so that the
        last position has seen everything (Lewis et al. 2019, BART, section 3.1).
        """
        if isinstance(self.backbone, EncoderDecoder):
            others.pop("token_type_ids", None)
            shifted = _shifted(input_ids, self.config)
            memory = self.backbone.encode(input_ids, attention_mask)
            return self.backbone.decode(shifted, memory, attention_mask)
        return self.backbone.hidden_states(input_ids, attention_mask, position_ids, **others)

    @property
    def head_config(self) -> HeadConfig:
        """The config's head."""
        assert self.config.head is not None
        return self.config.head


class Projection(nn.Module):
    """((Dropout,) dense layer, activation, norm,) dropout, linear projection to the labels.

    Args:
        config: the model's shape, with a head.
        outputs: number of logits.
    """

    def __init__(self, config: TransformerConfig, outputs: int) -> None:
        super().__init__()
        head = config.head
        assert head is not None
        width = config.hidden_size
        self.dropout = nn.Dropout(head.dropout)
        self.hidden_dropout = nn.Dropout(head.dropout if head.hidden_dropout else 0.0)
        self.activation = ACTIVATIONS[head.activation]
        self.dense = nn.Linear(width, width, bias=head.hidden_bias) if head.hidden else None
        self.norm = make_norm(config) if head.norm else None
        self.project = nn.Linear(width, outputs, bias=head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., outputs)."""
        if self.dense is not None:
            x = self.activation(self.dense(self.hidden_dropout(x)))
        if self.norm is not None:
            x = self.norm(x)
        logits: Tensor = self.project(self.dropout(x))
        return logits


class MaskedHead(nn.Module):
    """Dense layer, activation, norm; then the embedding as output projection, where it is tied.

    Args:
        config: the model's shape, with a head.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width, head = config.hidden_size, config.head
        assert head is not None
        self.dense = nn.Linear(width, width, bias=head.hidden_bias)
        self.activation = ACTIVATIONS[head.activation]
        self.norm = make_norm(config)
        self.decoder: nn.Linear | None = None
        if not config.tie_word_embeddings:
            self.decoder = nn.Linear(width, config.vocab_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size)) if config.output_bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D), what the output projection reads."""
        transformed: Tensor = self.norm(self.activation(self.dense(x)))
        return transformed


class MaskedLM(Headed):
    """Predict tokens that were hidden."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.head = MaskedHead(config)

    @property
    def output_weight(self) -> Tensor:
        """(V, D) of the output projection: the embedding where they are tied."""
        own = self.head.decoder
        module = self.backbone.embed_tokens if own is None else own
        assert module is not None
        return module.weight

    @property
    def output_bias(self) -> Tensor | None:
        """(V,) of the output projection, where it has one."""
        return self.head.bias

    def transform(self, hidden: Tensor) -> Tensor:
        """(..., D) hidden states -> (..., D) what the output projection reads."""
        transformed: Tensor = self.head(hidden)
        return transformed

    def project(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of hidden states (..., D)."""
        return F.linear(self.transform(hidden), self.output_weight, self.output_bias)

    def forward(self, input_ids: Tensor, *args: Any, **kwargs: Any) -> Output:
        """Score every token at every position; see `Stack.hidden_states` for the arguments."""
        return Output(logits=self.project(self.hidden_states(input_ids, *args, **kwargs)))


class SequenceClassifier(Headed):
    """One answer for a sequence: logits of classes, or a score (a reward) where there is one."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.head = Projection(config, self.head_config.num_labels)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **others: Any
    ) -> Output:
        """Logits (B, classes); see `Stack.hidden_states` for the arguments."""
        hidden = self.hidden_states(input_ids, attention_mask, **others)
        return Output(logits=self.head(pool(hidden, input_ids, attention_mask, self.config)))


class TokenClassifier(Headed):
    """A tag for every token; with a CRF, the best sequence of tags as a whole."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.head = Projection(config, self.head_config.num_labels)
        self.crf = _make_crf(self.head_config)

    def forward(self, input_ids: Tensor, *args: Any, **kwargs: Any) -> Output:
        """Logits (B, T, tags); see `Stack.hidden_states` for the arguments."""
        return Output(logits=self.head(self.hidden_states(input_ids, *args, **kwargs)))

    def loss(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        labels: Tensor,
        **others: Any,
    ) -> Tensor:
        """Negative log-likelihood of the tags in nats, summed; see `tagging.tagging_loss`.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), 0 where a token is padding.
            labels: (B, T) int64, -100 where a token has none.
            others: see `Stack.hidden_states`.

        Raises:
            LmwrightError: if the shapes do not fit or a label is out of range.
        """
        logits = self(input_ids, attention_mask, **others).logits
        return tagging_loss(logits, attention_mask, labels, self.crf)

    @torch.no_grad()
    def decode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        label_mask: Tensor | None = None,
        **others: Any,
    ) -> Tensor:
        """The best tags (B, T) int64, -100 where a token gets none; see `tagging.best_tags`.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), 0 where a token is padding.
            label_mask: (B, T), 0 where a token gets no tag.
            others: see `Stack.hidden_states`.
        """
        logits = self(input_ids, attention_mask, **others).logits
        return best_tags(logits, attention_mask, label_mask, self.crf)


class SpanFinder(Headed):
    """Where an answer begins and ends: two logits for every token."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.head = Projection(config, 2)

    def forward(self, input_ids: Tensor, *args: Any, **kwargs: Any) -> Output:
        """Logits (B, T, 2) of start and end; see `Stack.hidden_states` for the arguments."""
        return Output(logits=self.head(self.hidden_states(input_ids, *args, **kwargs)))


class Embedder(Headed):
    """A vector for a sequence, of length 1 where the head says `normalize`."""

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **others: Any
    ) -> Output:
        """Vectors (B, D); see `Stack.hidden_states` for the arguments."""
        hidden = self.hidden_states(input_ids, attention_mask, **others)
        vectors = pool(hidden, input_ids, attention_mask, self.config)
        return Output(
            logits=F.normalize(vectors, dim=-1) if self.head_config.normalize else vectors
        )


def _make_crf(head: HeadConfig) -> CRF | None:
    if not head.crf:
        return None
    if head.tag_scheme is None:
        return CRF(head.num_labels)
    return CRF(head.num_labels, allowed_transitions(head.labels, head.tag_scheme))


def _shifted(input_ids: Tensor, config: TransformerConfig) -> Tensor:
    """(B, T) the same tokens one place to the right, begun by the decoder's start token."""
    start = config.decoder_start_token_id
    assert start is not None, "an encoder-decoder's config names its decoder_start_token_id"
    shifted = input_ids.roll(1, dims=1)
    shifted[:, 0] = start
    return shifted
