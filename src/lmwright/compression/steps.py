"""What the compression steps do."""

from pathlib import Path

from lmwright import models
from lmwright.compression import weights
from lmwright.compression.commands import QuantizeConfig
from lmwright.compression.linear import QuantizedLinear
from lmwright.models import accounting
from lmwright.models.exchange import has_tokenizer
from lmwright.models.transformer import Decoder
from lmwright.pipeline.run import StepRun


def quantize(config: QuantizeConfig, run: StepRun, *, model: Path) -> None:
    """Write the model with rounded weights, and say how much smaller and how far off it is.

    Args:
        config: how many bits, and how many weights share a scale.
        run: where the folder goes.
        model: folder of the parent; its tokenizer goes along.
    """
    parent = models.load(model)
    quantized = weights.quantize(parent, config.bits, config.group_size)
    weights.save(quantized, run.output, tokenizer=model if has_tokenizer(model) else None)
    before, after = _float32_bytes(parent, model), _folder_bytes(run.output)
    error = _relative_error(parent, quantized)
    kind = f"int{config.bits}"
    run.summarize(
        **{
            f"{kind}_size_ratio": round(after / before, 4),
            f"{kind}_bytes": after,
            f"{kind}_weight_error": error,
        }
    )
    run.table(
        "Size",
        ["weights", "MB"],
        [["float32", round(before / 1e6, 2)], [kind, round(after / 1e6, 2)]],
        note=f"root mean square error of the rounded weights: {error:.2%} of their own",
    )


def _folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _float32_bytes(model: Decoder, folder: Path) -> int:
    """Size of the parent's folder, its weights counted with four bytes each."""
    stored = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return _folder_bytes(folder) - stored + 4 * accounting.parameters(model.config)["total"]


def _relative_error(parent: Decoder, quantized: Decoder) -> float:
    """Root mean square of all rounding errors over that of the weights they replace."""
    squares = references = 0.0
    for name, module in quantized.named_modules():
        if isinstance(module, QuantizedLinear):
            weight = parent.get_parameter(f"{name}.weight").detach().float()
            squares += float((module.expanded() - weight).square().sum())
            references += float(weight.square().sum())
    return (squares / references) ** 0.5 if references else 0.0
