"""The text CNN (Kim 2014): n-gram detectors, and whether each of them fired anywhere."""

import torch
from torch import Tensor, nn

from lmwright.models.classic_config import TextCNNConfig
from lmwright.models.classic_initialization import initialize_classic
from lmwright.models.layers import sequences
from lmwright.models.layers.regularize import make_batch_norm, make_dropout
from lmwright.models.perceptron import ACTIVATIONS
from lmwright.models.transformer import Output


class MaxOverTime(nn.Module):
    """Filters of one width over a text, and the strongest answer of each.

    Windows may hang over both ends of a text, as long as they touch it (Kim pads sentences so;
    "wide" in Kalchbrenner et al. 2014, section 2.1): a text may be shorter than a filter.

    Batch normalisation, where asked for, stands between the convolution and its activation (Ioffe
    and Szegedy 2015, section 3.2) and counts the windows of the texts alone, not those of padding.
    """

    def __init__(self, width: int, config: TextCNNConfig) -> None:
        super().__init__()
        self.width = width
        self.convolution = nn.Conv1d(
            config.embedding_size,
            config.num_filters,
            width,
            padding=width - 1,
            bias=not config.batch_norm,
        )
        self.norm = make_batch_norm(config.num_filters) if config.batch_norm else None
        self.activation = ACTIVATIONS[config.activation]()

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The maximum of every filter.

        Args:
            x: (B, E, T), 0 behind a text's end.
            lengths: (B,) tokens of each text; one that is empty counts as one zero.

        Returns:
            (B, F).
        """
        answers = self.convolution(x).transpose(1, 2)  # (B, T + width - 1, F)
        window = torch.arange(answers.shape[1], device=x.device)
        touching = window < (lengths.clamp_min(1) + self.width - 1)[:, None]
        if self.norm is not None:
            normed = self.norm(answers[touching])
            answers = torch.zeros_like(answers).masked_scatter(touching[..., None], normed)
        answers = self.activation(answers)
        strongest: Tensor = answers.masked_fill(~touching[..., None], -torch.inf).max(1).values
        return strongest


class TextCNN(nn.Module):
    """A text classifier over convolutions of several widths.

    Dropout stands before the classifier (section 2.1).

    Args:
        config: the model's shape.
    """

    def __init__(self, config: TextCNNConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size)
        self.embed_tokens.weight.requires_grad_(not config.freeze_embeddings)
        self.filters = nn.ModuleList(MaxOverTime(width, config) for width in config.widths)
        self.dropout = make_dropout(config.dropout)
        features = len(config.widths) * config.num_filters
        self.classifier = nn.Linear(features, config.num_labels)

    def initialize(self, seed: int, embedding_weight: Tensor | None = None) -> None:
        """Draw fresh weights, the same for the same seed; see `initialize_classic`.

        Args:
            seed: of the random numbers.
            embedding_weight: (V, E) word vectors to begin with.
        """
        generator = torch.Generator().manual_seed(seed)
        std = self.config.initializer_range
        initialize_classic(self, generator, std, embedding_weight)

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
            Logits (B, C).

        Raises:
            LmwrightError: if the shapes do not fit.
        """
        rows = sequences.of_rows(input_ids, attention_mask)
        x = self.embed_tokens(rows.gather(input_ids))
        if not rows.full:
            x = x * rows.valid()[..., None]
        x = x.transpose(1, 2)
        features = torch.cat([layer(x, rows.lengths) for layer in self.filters], dim=1)
        return Output(logits=self.classifier(self.dropout(features)))
