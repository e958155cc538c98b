"""First weights of what came before attention."""

import torch
from torch import Tensor, nn

from lmwright.core.errors import LmwrightError
from lmwright.models.crf import CRF
from lmwright.models.layers.recurrence import initialize_recurrence


def initialize_classic(
    model: nn.Module,
    generator: torch.Generator,
    embedding_std: float,
    embedding_weight: Tensor | None = None,
) -> None:
    """Draw fresh weights in place, the same for the same generator state.

    Embeddings, and the output projection of a language model, are normal with `embedding_std`;
    matrices uniform with variance 2 / (fan in + fan out) (Glorot and Bengio 2010, equation 16);
    convolutions normal with variance 2 / fan in, for the ReLU behind them (He et al. 2015, equation
    10); recurrent weights orthogonal, forget gates open (see `initialize_recurrence`); norms one,
    biases and a CRF's transitions zero.

    Args:
        model: one of this room's classic models.
        generator: source of randomness; drawn from in the order of `named_modules`.
        embedding_std: standard deviation of embeddings.
        embedding_weight: (V, E) word vectors to begin with, for `model.embed_tokens`.

    Raises:
        LmwrightError: if the word vectors have another shape than the embedding.
    """
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.Embedding) or name == "lm_head":
                assert isinstance(module.weight, Tensor)
                module.weight.normal_(0.0, embedding_std, generator=generator)
            else:
                _draw(module, generator)
        if embedding_weight is not None:
            _give_vectors(model, embedding_weight)


def _draw(module: nn.Module, generator: torch.Generator) -> None:
    if isinstance(module, (nn.Linear, nn.Conv1d)):
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
        else:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        if module.bias is not None:
            module.bias.zero_()
    elif isinstance(module, nn.RNNBase):
        initialize_recurrence(module, generator)
    elif isinstance(module, nn.BatchNorm1d):
        module.reset_parameters()
    elif isinstance(module, CRF):
        module.reset()


def _give_vectors(model: nn.Module, vectors: Tensor) -> None:
    embedding = model.embed_tokens
    assert isinstance(embedding, nn.Embedding)
    if vectors.shape != embedding.weight.shape:
        raise LmwrightError(
            f"the word vectors have shape {tuple(vectors.shape)}, "
            f"the embedding {tuple(embedding.weight.shape)}",
            hint="vocab_size and embedding_size must be theirs",
        )
    embedding.weight.copy_(vectors)
