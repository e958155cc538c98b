"""Which models the GPU's kernels can run, on which machine."""

import importlib.util

import torch

from lmwright.engine.native.coverage import replaced_parts
from lmwright.models.config import TransformerConfig
from lmwright.models.transformer import Decoder

WIDEST_HEAD = 256
"""Beyond, a tile of keys and the sums do not fit a program's memory."""
LEAST_CAPABILITY = (8, 0)
"""Ampere: products in bfloat16."""
FP8_CAPABILITY = (8, 9)
"""Ada: products and conversions of fp8."""


def covers_model(model: object) -> str | None:
    """Why the kernels do not cover a model in memory, wherever it is; None: they do."""
    own = replaced_parts()
    if own:
        return f"they would go round {' and '.join(own)}, which --use names"
    if not isinstance(model, Decoder):
        return f"{type(model).__name__} is no decoder"
    if not model.has_output:
        return "it has no output projection"
    return covers(model.config)


def covers(config: TransformerConfig) -> str | None:
    """Why the kernels do not cover a family's config; None: they do."""
    if config.positions == "relative":
        return "the GPU kernels have no relative position bias"
    if config.head_dim > WIDEST_HEAD:
        return f"head_dim {config.head_dim} is more than {WIDEST_HEAD}"
    return None


def covers_machine(device: torch.device) -> str | None:
    """Why nothing of ours runs on a device; None: it does."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed: pip install 'lmwright[gpu]'"
    if torch.version.hip is not None:
        return "the GPU kernels are for NVIDIA's GPUs"
    capability = torch.cuda.get_device_capability(device)
    if capability < LEAST_CAPABILITY:
        return f"compute capability {_dotted(capability)} is below {_dotted(LEAST_CAPABILITY)}"
    return None


def fp8_on(device: torch.device) -> str | None:
    """Why a device has no fp8; None: it has."""
    if device.type != "cuda":
        return f"fp8 needs an NVIDIA GPU, and the model is on {device.type}"
    capability = torch.cuda.get_device_capability(device)
    if capability < FP8_CAPABILITY:
        need = _dotted(FP8_CAPABILITY)
        return f"fp8 needs compute capability {need}, and this GPU has {_dotted(capability)}"
    return None


def no_graphs(config: TransformerConfig) -> str | None:
    """Why a pass cannot be recorded and played again; None: it can."""
    if config.experts is not None:
        return "with experts, shapes depend on what the router says"
    scaling = config.rope_scaling
    if config.positions == "rotary" and scaling is not None and scaling.kind == "dynamic":
        return "dynamic rotary scaling looks at the longest sequence of a batch"
    return None


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))
