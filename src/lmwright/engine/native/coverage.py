"""Which models the native kernels can run."""

from lmwright.core import parts
from lmwright.models.config import TransformerConfig
from lmwright.models.transformer import Decoder

# What the kernels do themselves, or keep on disk (packed weights) as production's own made it.
_BYPASSED = (
    *("lmwright.models.", "lmwright.compression."),
    *("lmwright.engine.paged_", "lmwright.engine.strips", "lmwright.engine.runner"),
)


def covers(config: TransformerConfig) -> str | None:
    """Why the kernels do not cover a family's config; None: they do."""
    scaling = config.rope_scaling
    reasons = {
        "it is no plain decoder": config.architecture != "decoder" or config.head is not None,
        "they have no mixture of experts": config.experts is not None,
        "they have no relative position bias": config.positions == "relative",
        "they have no token types": bool(config.token_type_vocab_size),
        "dynamic rotary scaling changes with the longest sequence of a batch": (
            config.positions == "rotary" and scaling is not None and scaling.kind == "dynamic"
        ),
        f"head_dim {config.head_dim} is no multiple of 8 up to 256": (
            config.head_dim % 8 != 0 or config.head_dim > 256
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def replaced_parts() -> list[str]:
    """Names of a reader's own parts that kernels would go round."""
    return [part.name for part in parts.active() if part.target.startswith(_BYPASSED)]


def covers_model(model: object) -> str | None:
    """Why the kernels do not cover a model in memory; None: they may."""
    own = replaced_parts()
    if own:
        return f"they would go round {' and '.join(own)}, which --use names"
    if not isinstance(model, Decoder):
        return f"{type(model).__name__} is no decoder"
    if not model.has_output:
        return "it has no output projection"
    if (reason := covers(model.config)) is not None:
        return reason
    devices = {parameter.device.type for parameter in model.parameters()}
    return None if devices == {"cpu"} else "its weights are not on the CPU"
