"""Recurrent networks that classify a text, tag its tokens, or go on with it.

Elman 1990 (RNN), Hochreiter and Schmidhuber 1997 (LSTM), Cho et al. 2014 (GRU); both directions:
Schuster and Paliwal 1997. `cells.py` has their equations, torch.nn's fused networks compute them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmwright.core.errors import LmwrightError
from lmwright.models.classic_config import RecurrentConfig
from lmwright.models.classic_initialization import initialize_classic
from lmwright.models.crf import CRF, allowed_transitions
from lmwright.models.layers import recurrence, sequences
from lmwright.models.layers.recurrence import RecurrentState
from lmwright.models.layers.regularize import make_dropout
from lmwright.models.layers.sequences import Sequences
from lmwright.models.tagging import best_tags, tagging_loss
from lmwright.models.transformer import Output


class _Recurrent(nn.Module):
    """Embedding and recurrent layers: what all three tasks read.

    Dropout is on the embeddings, between layers and on the states that are read off, never from
    one step to the next (Zaremba et al. 2014, section 3.1).
    """

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size)
        self.embed_tokens.weight.requires_grad_(not config.freeze_embeddings)
        self.recurrent = recurrence.fused(
            config.cell,
            config.embedding_size,
            config.hidden_size,
            config.num_layers,
            bidirectional=config.bidirectional,
            dropout=config.dropout,
        )
        self.dropout = make_dropout(config.dropout)

    def initialize(self, seed: int, embedding_weight: Tensor | None = None) -> None:
        """Draw fresh weights, the same for the same seed; see `initialize_classic`.

        Args:
            seed: of the random numbers.
            embedding_weight: (V, E) word vectors to begin with.
        """
        generator = torch.Generator().manual_seed(seed)
        std = self.config.initializer_range
        initialize_classic(self, generator, std, embedding_weight)

    def embed(self, input_ids: Tensor, layout: Sequences) -> Tensor:
        """(N, L, E), the tokens' vectors of every sequence."""
        embedded: Tensor = self.dropout(self.embed_tokens(layout.gather(input_ids)))
        return embedded

    def read(self, input_ids: Tensor, layout: Sequences) -> Tensor:
        """States (N, L, D * directions) of every sequence, before dropout."""
        return recurrence.outputs(self.recurrent, self.embed(input_ids, layout), layout)


class RecurrentClassifier(_Recurrent):
    """One label for a text.

    The text's vector is the last state of each direction, or the states' maximum (Conneau et al.
    2017, section 3.2.2) or mean over time.

    Args:
        config: the model's shape, its task `sequence_classification`.
    """

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.classifier = nn.Linear(config.output_size, config.num_labels)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Output:
        """Classify texts; padding, on either side, changes nothing.

        Args:
            input_ids: (B, T) integers.
            attention_mask: (B, T), 0 where a token is padding; None: none is.
            token_type_ids: not used; tokenizers give them.

        Returns:
            Logits (B, C). A row of padding only is classified from zeros.

        Raises:
            LmwrightError: if the shapes do not fit.
        """
        layout = sequences.of_rows(input_ids, attention_mask)
        pooled = self._pool(self.read(input_ids, layout), layout)
        return Output(logits=self.classifier(self.dropout(pooled)))

    def _pool(self, states: Tensor, layout: Sequences) -> Tensor:
        """(B, D * directions)."""
        if self.config.pooling == "last":
            rows = torch.arange(len(states), device=states.device)
            end = states[rows, (layout.lengths - 1).clamp_min(0)]
            if self.config.bidirectional:  # the backward half ends at the first token
                width = self.config.hidden_size
                end = torch.cat((end[:, :width], states[:, 0, width:]), dim=1)
            return torch.where(layout.lengths[:, None] > 0, end, 0.0)
        valid = layout.valid()[..., None]
        if self.config.pooling == "mean":
            return states.where(valid, 0.0).sum(1) / layout.lengths.clamp_min(1)[:, None]
        strongest = states.masked_fill(~valid, -torch.inf).max(1).values
        return torch.where(layout.lengths[:, None] > 0, strongest, 0.0)


class RecurrentTagger(_Recurrent):
    """A label for every token, each on its own or all together by a CRF (Huang et al. 2015).

    Args:
        config: the model's shape, its task `token_classification`.
    """

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.classifier = nn.Linear(config.output_size, config.num_labels)
        self.crf: CRF | None = None
        if config.crf:
            scheme = config.tag_scheme
            allowed = None if scheme is None else allowed_transitions(config.labels, scheme)
            self.crf = CRF(config.num_labels, allowed)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Output:
        """Score every token's labels; padding, on either side, changes nothing.

        Args:
            input_ids: (B, T) integers.
            attention_mask: (B, T), 0 where a token is padding; None: none is.
            token_type_ids: not used; tokenizers give them.

        Returns:
            Logits (B, T, C), what a CRF takes as emissions; those of padding mean nothing.

        Raises:
            LmwrightError: if the shapes do not fit.
        """
        layout = sequences.of_rows(input_ids, attention_mask)
        states = self.read(input_ids, layout)
        return Output(logits=layout.scatter(self.classifier(self.dropout(states))))

    def loss(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        labels: Tensor,
        token_type_ids: Tensor | None = None,
    ) -> Tensor:
        """Negative log-likelihood of the labels in nats, summed over everything labelled.

        Args:
            input_ids: (B, T) integers.
            attention_mask: (B, T), 0 where a token is padding; None: none is.
            labels: (B, T) int64 in [0, C), -100 where a token has none; a CRF's chain skips it.
            token_type_ids: not used; tokenizers give them.

        Raises:
            LmwrightError: if the shapes do not fit or a label is out of range.
        """
        logits = self(input_ids, attention_mask).logits
        return tagging_loss(logits, attention_mask, labels, self.crf)

    def decode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        label_mask: Tensor | None = None,
    ) -> Tensor:
        """The best labels (B, T) int64, -100 on padding.

        Args:
            input_ids: (B, T) integers.
            attention_mask: (B, T), 0 where a token is padding; None: none is.
            label_mask: (B, T), 0 where a token gets no label (the later pieces of a word).
        """
        logits = self(input_ids, attention_mask).logits
        return best_tags(logits, attention_mask, label_mask, self.crf)


class RecurrentLM(_Recurrent):
    """A causal language model (Mikolov et al. 2010; Zaremba et al. 2014 with LSTM and dropout).

    Its output projection may be the embedding (Press and Wolf 2017); states of another width are
    first brought to the embedding's.

    Args:
        config: the model's shape, its task `causal_lm`.
    """

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        tied, width = config.tie_word_embeddings, config.hidden_size
        self.output_proj: nn.Linear | None = None
        if tied and width != config.embedding_size:
            self.output_proj = nn.Linear(width, config.embedding_size, bias=False)
        self.lm_head = None if tied else nn.Linear(width, config.vocab_size, bias=False)

    @property
    def output_weight(self) -> Tensor:
        """(V, D or E) of the output projection: the embedding where they are tied."""
        return self.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: RecurrentState | None = None,
        document_ids: Tensor | None = None,
    ) -> Output:
        """Score the next token after every position; see `hidden_states`."""
        hidden = self.hidden_states(input_ids, attention_mask, position_ids, cache, document_ids)
        return Output(logits=self.project(hidden))

    def hidden_states(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: RecurrentState | None = None,
        document_ids: Tensor | None = None,
    ) -> Tensor:
        """What `project` turns into logits.

        Args:
            input_ids: (B, T) integers.
            attention_mask: (B, S), 0 where a token is padding, on either side; with a cache it may
                count earlier tokens too.
            position_ids: not used; the network knows by itself how far it is.
            cache: where the rows go on; overwritten with where they end. A fresh
                `RecurrentState()` begins.
            document_ids: (B, T), 0 for padding; every document begins anew.

        Returns:
            (B, T, D), or (B, T, E) of a tied output; 0 on padding.

        Raises:
            LmwrightError: if the shapes do not fit, or documents are given with a cache.
        """
        if document_ids is not None:
            if cache is not None:
                raise LmwrightError("document_ids begin anew where a cache goes on; give one")
            if attention_mask is not None:
                document_ids = document_ids * attention_mask
            layout = sequences.of_documents(input_ids, document_ids)
        else:
            if cache is not None and attention_mask is not None:
                attention_mask = attention_mask[:, -input_ids.shape[1] :]
            layout = sequences.of_rows(input_ids, attention_mask)
        if cache is None:
            states = self.read(input_ids, layout)
        else:
            embedded = self.embed(input_ids, layout)
            states, end = recurrence.run(self.recurrent, embedded, layout, cache)
            cache.hidden, cache.cell = end.hidden, end.cell
        states = self.dropout(states)
        if self.output_proj is not None:
            states = self.output_proj(states)
        return layout.scatter(states)

    def project(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of what `hidden_states` gives."""
        return F.linear(hidden, self.output_weight)


RecurrentModel = RecurrentClassifier | RecurrentTagger | RecurrentLM


def recurrent_model(config: RecurrentConfig) -> RecurrentModel:
    """The model of the config's task, its weights torch's random ones until `initialize`."""
    if config.task == "causal_lm":
        return RecurrentLM(config)
    if config.task == "token_classification":
        return RecurrentTagger(config)
    return RecurrentClassifier(config)
