"""The deep averaging network (Iyyer et al. 2015): a text is the mean of its words, then an MLP."""

import torch
from torch import Tensor, nn

from lmwright.core.errors import LmwrightError
from lmwright.models.classic_config import Activation, PerceptronConfig
from lmwright.models.classic_initialization import initialize_classic
from lmwright.models.layers.regularize import make_batch_norm, make_dropout
from lmwright.models.layers.sequences import check_ids
from lmwright.models.transformer import Output

ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
}


class HiddenLayer(nn.Module):
    """activation(norm(W x + b)), then dropout.

    The norm is over the batch and stands between the product and its activation (Ioffe and Szegedy
    2015, section 3.2); its own bias makes b needless.
    """

    def __init__(self, input_size: int, config: PerceptronConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, config.hidden_size, bias=not config.batch_norm)
        self.norm = make_batch_norm(config.hidden_size) if config.batch_norm else None
        self.activation = ACTIVATIONS[config.activation]()
        self.dropout = make_dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, X) -> (B, D)."""
        x = self.linear(x)
        if self.norm is not None:
            if self.training and len(x) == 1:
                raise LmwrightError(
                    "batch_norm cannot train on one row at a time: it has no spread to divide by",
                    hint="use more rows in a micro-batch, or batch_norm: false",
                )
            x = self.norm(x)
        result: Tensor = self.dropout(self.activation(x))
        return result


class Perceptron(nn.Module):
    """A text classifier that knows which words a text has, not their order.

    Dropout is behind every hidden layer; word dropout leaves whole words out of the mean (section
    3.1), every one of them with the same probability, but never all of a text's.

    Args:
        config: the model's shape.
    """

    def __init__(self, config: PerceptronConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size)
        self.embed_tokens.weight.requires_grad_(not config.freeze_embeddings)
        widths = [config.embedding_size] + [config.hidden_size] * config.num_layers
        self.layers = nn.ModuleList(HiddenLayer(width, config) for width in widths[:-1])
        self.classifier = nn.Linear(widths[-1], config.num_labels)

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
        """Classify texts.

        Args:
            input_ids: (B, T) integers.
            attention_mask: (B, T), 0 where a token is padding; None: none is.
            token_type_ids: not used; tokenizers give them.

        Returns:
            Logits (B, C). The mean of a row of padding only is 0.

        Raises:
            LmwrightError: if the shapes do not fit.
        """
        check_ids(input_ids, attention_mask)
        x = self.embed_tokens(input_ids)
        weights = self._weights(input_ids, attention_mask).to(x.dtype)
        x = (weights[:, None] @ x).squeeze(1)  # (B, E)
        for layer in self.layers:
            x = layer(x)
        return Output(logits=self.classifier(x))

    def _weights(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """(B, T) of the mean, fp32: each row sums to 1."""
        real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        real = real.bool()
        if self.training and self.config.word_dropout > 0:
            chance = torch.rand(real.shape, device=real.device)
            kept = real & (chance >= self.config.word_dropout)
            real = torch.where(kept.any(1, keepdim=True), kept, real)
        return real / real.sum(1, keepdim=True).clamp_min(1)
