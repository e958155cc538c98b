"""The least time that a step can take: weights read once, operations at the measured peak."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference_contenders import Task
from machine_limits import Limits

from lmwright.models import accounting

BYTES_PER_WEIGHT = {8: 1 + 2 / 128, 4: 0.5 + 2 / 32, 32: 4.0}
"""Groups with a scale of 16 bits each: of 128 as ours mostly, of 32 as q4_0 has them."""
CACHED_BYTES = 2
"""Of a key's or value's number: what most engines keep; ours may keep more, and then is nearer to
its floor than it looks."""


@dataclass(frozen=True)
class Floor:
    """What a model must read and compute.

    Args:
        config: content of its config.json.
        bits: of a weight.
    """

    config: dict[str, Any]
    bits: int

    @property
    def weight_bytes(self) -> float:
        """Bytes of the matrices that every token multiplies."""
        return accounting.matrix_parameters(self.config) * BYTES_PER_WEIGHT[self.bits]

    def fits(self, limits: Limits) -> bool:
        """Whether the weights stay in the last-level cache from step to step."""
        return self.weight_bytes <= limits.cache_bytes

    def seconds(self, task: Task, limits: Limits, *, reading: bool) -> float:
        """Seconds per token, over all sequences, that no engine of this precision can undercut."""
        int8 = self.bits != 32
        peak = limits.int8_per_second if int8 else limits.float32_per_second
        head = 2.0 * self.config["vocab_size"] * self.config["hidden_size"]
        if reading:
            # Each token sees half of the prompt on average; only the last one is scored.
            each = accounting.flops_per_token(self.config, task.prompt_tokens // 2, False)
            return (each - head * (1 - 1 / task.prompt_tokens)) / peak
        context = task.prompt_tokens + task.new_tokens // 2
        cached = context * accounting.kv_bytes_per_token(self.config, CACHED_BYTES)
        read = (self.weight_bytes / task.batch + cached) / limits.read_bytes_per_second
        return max(read, accounting.flops_per_token(self.config, context, False) / peak)

    def __str__(self) -> str:
        parameters = accounting.parameters(self.config)["total"]
        return f"{parameters / 1e6:.0f} M parameters, {self.weight_bytes / 1e6:.0f} MB a step"


def floor_of(folder: Path, bits: int) -> Floor:
    """The floor of the model in a folder."""
    return Floor(json.loads((folder / "config.json").read_text()), bits)
