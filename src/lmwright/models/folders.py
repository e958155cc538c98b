"""Folders of what came before attention: config.json and model.safetensors, our own format."""

from pathlib import Path

import torch

from lmwright.core.errors import LmwrightError
from lmwright.core.files import write_json
from lmwright.models.classic_config import (
    ClassicConfig,
    PerceptronConfig,
    RecurrentConfig,
    TextCNNConfig,
    classic_config,
)
from lmwright.models.convolutional import TextCNN
from lmwright.models.exchange import SavesItself, new_folder, read_config_json
from lmwright.models.fit import Fit
from lmwright.models.perceptron import Perceptron
from lmwright.models.recurrent import RecurrentModel, recurrent_model
from lmwright.models.recurrent_encoder_decoder import RecurrentEncoderDecoder
from lmwright.models.weights_files import read_weights, write_weights

ClassicModel = Perceptron | TextCNN | RecurrentModel | RecurrentEncoderDecoder


def classic_model(config: ClassicConfig) -> ClassicModel:
    """The model that a config describes, its weights torch's random ones until `initialize`."""
    if isinstance(config, PerceptronConfig):
        return Perceptron(config)
    if isinstance(config, TextCNNConfig):
        return TextCNN(config)
    if isinstance(config, RecurrentConfig):
        return recurrent_model(config)
    return RecurrentEncoderDecoder(config)


def load_classic(folder: str | Path, *, dtype: torch.dtype | None = None) -> ClassicModel:
    """Open a folder that `save_classic` wrote.

    Args:
        folder: with config.json and model.safetensors.
        dtype: of the weights in memory; None: as stored.

    Returns:
        The model, in evaluation mode.

    Raises:
        LmwrightError: if a file is missing or broken, config.json describes none of our models,
            or weights are missing, left over or of another shape.
    """
    folder = Path(folder)
    values = read_config_json(folder)
    try:
        config = classic_config(values)
    except LmwrightError as error:
        raise LmwrightError(f"{folder / 'config.json'}: {error.what}", hint=error.hint) from error
    weights = read_weights(folder)
    # torch.nn draws weights, to be overwritten, from the process's own random numbers.
    with torch.random.fork_rng(devices=[]):
        model = classic_model(config)
    state = model.state_dict()
    fit = Fit(expected=state, given=weights, ours=lambda name: (name,), shown=str)
    fit.check(state, weights, misshapen=[], folder=folder)
    model.to(dtype or weights["embed_tokens.weight"].dtype)
    model.load_state_dict(weights)
    return model.eval()


def save_classic(
    model: ClassicModel,
    folder: str | Path,
    *,
    tokenizer: str | Path | SavesItself | None = None,
) -> None:
    """Write a folder that `load_classic` opens; whole or not at all.

    Args:
        model: its weights are written in the dtype they have.
        folder: replaced if it is empty or a model folder.
        tokenizer: folder whose tokenizer files are copied beside the weights, or an object with
            `save(folder)`.

    Raises:
        LmwrightError: if `folder` holds something else, or cannot be written.
    """
    with new_folder(Path(folder), tokenizer) as temporary:
        write_json(temporary / "config.json", model.config.model_dump(mode="json"))
        write_weights(temporary, model.state_dict())
