"""Steps of the compression room, and their configuration."""

from typing import Literal

from lmwright.core.config import Config
from lmwright.pipeline.step import StepType


class QuantizeConfig(Config):
    """Round a model's weights to fewer bits."""

    bits: Literal[8, 4] = 8
    """Bits of a weight in the linear layers of the blocks; the embedding takes 16."""

    group_size: Literal[32, 64, 128] | None = None
    """Neighbours in a row of weights that share a scale; null: the whole row, coarse for 4 bits."""


STEPS = (
    StepType(
        name="compression.quantize",
        config=QuantizeConfig,
        function="lmwright.compression.steps:quantize",
        inputs={"model": "model"},
        output="model",
        summary="Round weights to 8 or 4 bits, a third of the size or less",
    ),
)
