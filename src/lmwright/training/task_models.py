"""Models of labelled tasks: fresh ones of any architecture, published ones with a new head."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from lmwright.core.errors import LmwrightError
from lmwright.models.assembly import assemble
from lmwright.models.build import build
from lmwright.models.classic_config import MODEL_TYPES
from lmwright.models.config import TransformerConfig
from lmwright.models.exchange import config_from, read_config_json, read_weights
from lmwright.models.folders import classic_model, load_classic
from lmwright.models.hub import locate
from lmwright.training.task_shapes import HEADS, Needs, label_keys, model_config


def new_model(kind: Mapping[str, str], shape: Mapping[str, Any], needs: Needs, seed: int) -> Any:
    """A model with fresh weights.

    Args:
        kind, shape, needs: see `task_shapes.model_config`.
        seed: of the weights.

    Raises:
        LmwrightError: if the shape is impossible, or the architecture cannot do the task.
    """
    config = model_config(kind, shape, needs)
    model: Any = build(config) if isinstance(config, TransformerConfig) else classic_model(config)
    model.initialize(seed)
    return model


def published_model(folder: Path, needs: Needs) -> nn.Module:
    """A trained transformer with a fresh head for the task (or its own, if it has that very one).

    Of what came before attention, a model of the same labels, to go on with.

    Raises:
        LmwrightError: if its vocabulary is smaller than the examples', or it cannot do the task.
    """
    place = locate(folder)
    values = read_config_json(place)
    if values.get("model_type") in MODEL_TYPES:
        classic = load_classic(place)
        if label_names(classic) != needs.labels:
            raise LmwrightError(
                f"{folder} has other labels than the examples, and no head that can be exchanged",
                hint="start from a transformer, or from nothing",
            )
        return classic.train()
    task = HEADS[needs.task]
    if task != "sequence_to_sequence":
        values = {**values, **label_keys(needs)}
    config = config_from(values, place, task)
    if config.vocab_size < needs.vocab_size:
        raise LmwrightError(
            f"{folder} has {config.vocab_size:,} tokens, the examples were encoded with "
            f"{needs.vocab_size:,}",
            hint="encode them with the model's own tokenizer",
        )
    model = assemble(config, read_weights(place), place, new_head=True)
    return model.float().train()


def label_names(model: nn.Module) -> tuple[str, ...]:
    """The names of a model's classes or tags, in the order of its logits."""
    config: Any = model.config
    if isinstance(config, TransformerConfig):
        return config.head.labels if config.head else ()
    return tuple(getattr(config, "labels", ()))
