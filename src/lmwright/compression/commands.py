"""Steps of the compression room, and their configuration."""

from typing import Literal

from lmwright.core.config import Config
from lmwright.pipeline.step import StepType


class QuantizeConfig(Config):
    """Round a model's weights to fewer bits."""

    bits: Literal[8] = 8
    """Bits of a weight in the linear layers of the blocks; the embedding takes 16."""


STEPS = (
    StepType(
        name="compression.quantize",
        config=QuantizeConfig,
        function="lmwright.compression.steps:quantize",
        inputs={"model": "model"},
        output="model",
        summary="Round weights to int8, a third of the size",
    ),
)
