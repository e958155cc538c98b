"""Several low-rank adapters on one model at once, each token with its own."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lmwright.core.errors import LmwrightError
from lmwright.models.transformer import Decoder
from lmwright.tuning import adapters
from lmwright.tuning.adapters import LowRank


class MultiLora:
    """Adapters applied to a model from outside; its weights and names stay as they are.

    A layer's output gets its adapter's product added by a hook, token by token: what is computed
    for a token does not depend on which adapters the others have. The layers may be quantised.

    Args:
        model: a decoder; adapted until `remove` is called.
        folders: name of an adapter -> its PEFT folder.

    Raises:
        LmwrightError: as `adapters.read`, or if an adapter is for layers that the model lacks or
            has in other sizes.
    """

    def __init__(self, model: Decoder, folders: Mapping[str, str | Path]) -> None:
        self.names = tuple(folders)
        self._tokens: dict[str, Tensor] | None = None
        self._count = 0
        by_layer: dict[str, dict[str, LowRank]] = {}
        for name, folder in folders.items():
            for layer, pair in adapters.read(Path(folder), model.config).items():
                by_layer.setdefault(layer, {})[name] = _fitting(model, layer, pair, Path(folder))
        self._handles = [
            model.get_submodule(layer).register_forward_hook(_hook(self, pairs))
            for layer, pairs in by_layer.items()
        ]

    @contextlib.contextmanager
    def selected(self, per_token: Sequence[str | None]) -> Iterator[None]:
        """Within the block, token i of every call of the model has the adapter `per_token[i]`.

        Args:
            per_token: of each of the N tokens of a flat batch (1, N), or of all rows in their
                order; None: the model as it is.

        Raises:
            LmwrightError: for a name that is not one of `names`.
        """
        places: dict[str, list[int]] = {}
        for place, name in enumerate(per_token):
            if name is not None:
                places.setdefault(name, []).append(place)
        for name in places:
            if name not in self.names:
                raise LmwrightError(
                    f"there is no adapter {name!r}", hint=f"there are: {', '.join(self.names)}"
                )
        self._tokens = {name: torch.tensor(found) for name, found in places.items()}
        self._count = len(per_token)
        try:
            yield
        finally:
            self._tokens = None

    def remove(self) -> None:
        """Leave the model as it was."""
        for handle in self._handles:
            handle.remove()

    def add(self, pairs: Mapping[str, LowRank], x: Tensor, output: Tensor) -> Tensor:
        """A layer's output with the products of the adapters that its tokens have.

        Args:
            pairs: the layer's matrices by the adapters' names.
            x: (..., K), N tokens in all.
            output: (..., N), changed in place.
        """
        if not self._tokens:
            return output
        rows, changed = x.reshape(-1, x.shape[-1]), output.view(-1, output.shape[-1])
        assert len(rows) == self._count, "as many tokens as `selected` was told"
        for name, places in self._tokens.items():
            pair = pairs.get(name)
            if pair is None:
                continue
            down, up = (side.to(x.device, x.dtype) for side in (pair.down, pair.up))
            if len(places) == len(rows):
                changed += rows @ down.T @ up.T
            else:
                places = places.to(x.device)
                changed.index_add_(0, places, rows[places] @ down.T @ up.T)
        return output


def _hook(
    lora: MultiLora, pairs: Mapping[str, LowRank]
) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return lora.add(pairs, inputs[0], output)

    return hook


def _fitting(model: Decoder, layer: str, pair: LowRank, folder: Path) -> LowRank:
    """The matrices, if the layer is a linear one of the blocks, and of their size."""
    module = dict(model.named_modules()).get(layer)
    width = getattr(module, "in_features", None)
    if width is None or not layer.startswith("layers."):
        raise LmwrightError(
            f"{folder}: {layer} is not a linear layer of the model's blocks",
            hint="adapters of embeddings, experts and output projections are not served",
        )
    found = (pair.up.shape[0], pair.down.shape[1])
    expected = (getattr(module, "out_features", None), width)
    if found != expected:
        raise LmwrightError(f"{folder}: {layer} is adapted as {found}, and is {expected}")
    return pair
