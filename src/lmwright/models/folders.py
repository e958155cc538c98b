"""Folders of what came before attention: config.json and model.safetensors, our own format."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lmwright.core.errors import LmwrightError
from lmwright.core.files import replaced_folder, write_json
from lmwright.models.classic_config import (
    ClassicConfig,
    PerceptronConfig,
    RecurrentConfig,
    TextCNNConfig,
    classic_config,
)
from lmwright.models.convolutional import TextCNN
from lmwright.models.exchange import SavesItself, copy_tokenizer, read_config_json
from lmwright.models.perceptron import Perceptron
from lmwright.models.recurrent import RecurrentModel, recurrent_model
from lmwright.models.recurrent_encoder_decoder import RecurrentEncoderDecoder
from lmwright.models.weights_files import read_weights

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
    _check_fit(model, weights, folder)
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
    target = Path(folder)
    if target.is_dir() and any(target.iterdir()) and not (target / "config.json").exists():
        raise LmwrightError(
            f"{target} holds files that are not a model; it will not be overwritten",
            hint="choose a new or empty folder",
        )
    weights = {name: w.detach().contiguous().cpu() for name, w in model.state_dict().items()}
    with replaced_folder(target) as temporary:
        write_json(temporary / "config.json", model.config.model_dump(mode="json"))
        save_file(weights, temporary / "model.safetensors", metadata={"format": "pt"})
        if isinstance(tokenizer, (str, Path)):
            copy_tokenizer(Path(tokenizer), temporary)
        elif tokenizer is not None:
            tokenizer.save(temporary)


def _check_fit(model: nn.Module, weights: dict[str, Tensor], folder: Path) -> None:
    expected = model.state_dict()
    problems = [f"{name} is missing" for name in expected if name not in weights]
    problems += [f"{name} has no place" for name in weights if name not in expected]
    problems += [
        f"{name} is {tuple(weights[name].shape)}, config.json says {tuple(want.shape)}"
        for name, want in expected.items()
        if name in weights and weights[name].shape != want.shape
    ]
    if problems:
        raise LmwrightError(
            f"{folder} does not hold the model it describes; among its weights {problems[0]}"
            + (f", and {len(problems) - 1} more are wrong" if len(problems) > 1 else "")
        )
