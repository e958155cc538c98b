"""The model and its cache: prompts in, running rows one token on, logits out."""

import contextlib
import sys
from collections.abc import Iterator
from collections.abc import Sequence as Items

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from lmwright.engine.cache import KVCache
from lmwright.models.transformer import Decoder


@contextlib.contextmanager
def generating(model: nn.Module) -> Iterator[None]:
    """No gradients, evaluation mode, no compilation; everything as it was afterwards.

    A model that is being trained keeps its modes and its compiled blocks. `no_grad`, not
    `inference_mode`: a tensor that a module keeps from here could not take part in training.
    """
    # Walking all modules takes as long as a layer: only where the model as a whole is training.
    training = [module for module in model.modules() if module.training] if model.training else []
    for module in training:
        module.training = False
    try:
        with torch.no_grad(), _eager():
            yield
    finally:
        for module in training:
            module.training = True


@contextlib.contextmanager
def _eager() -> Iterator[None]:
    """Run compiled blocks as they were written: every batch size here would compile them anew."""
    if "torch._dynamo" not in sys.modules:  # nothing compiled: save its seconds of import
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


class Runner:
    """Runs one model over the rows of its own cache.

    Args:
        model: a decoder; its weights are used as they are at each call.
    """

    def __init__(self, model: Decoder) -> None:
        self.model = model
        self.cache = KVCache()

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.model.output_weight.device

    def prefill(self, prompts: Items[Items[int]]) -> Tensor:
        """Let prompts join as new rows at the end; (B, V) logits of each one's next token."""
        lengths = [len(prompt) for prompt in prompts]
        ids = pad_sequence([torch.tensor(prompt) for prompt in prompts], batch_first=True)
        with self.cache.joining(lengths, self.device) as positions:
            hidden = self.model.hidden_states(
                ids.to(self.device), position_ids=positions, cache=self.cache
            )
            last = torch.tensor(lengths, device=self.device) - 1
            # Only these positions' logits are wanted: V is many times D.
            rows = torch.arange(len(lengths), device=self.device)
            return self.model.project(hidden[rows, last])

    def decode(self, tokens: Items[int]) -> Tensor:
        """Append one token to every row; (B, V) logits of the next."""
        ids = torch.tensor(tokens, device=self.device)[:, None]
        with self.cache.growing(self.device) as positions:
            hidden = self.model.hidden_states(ids, position_ids=positions, cache=self.cache)
            return self.model.project(hidden[:, 0])
