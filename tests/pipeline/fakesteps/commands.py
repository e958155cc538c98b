from lmwright.core.config import Config
from lmwright.core.duration import Duration
from lmwright.pipeline.step import Estimate, StepType


class CorpusConfig(Config):
    path: str = "builtin"
    """Folder of text, or "builtin"."""
    kinds: tuple[str, ...] = ("text", "chats", "preferences")
    """Kinds of records it has."""
    words: int = 3
    """Words to write."""


class OptimizerConfig(Config):
    beta: float = 0.9
    """Momentum."""


class TrainConfig(Config):
    steps: int = 3
    """Optimiser steps."""
    learning_rate: float = 0.1
    """Step size."""
    pause: float = 0.0
    """Seconds that each step sleeps."""
    budget: Duration | None = None
    """Own budget."""
    plot: bool = False
    """Ask for a curve, which costs a quarter of a second."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Nested keys."""


class EvaluateConfig(Config):
    limit: int = 10
    """Questions."""


class FailConfig(Config):
    how: str = "bug"
    """What to raise."""


def kinds(config: CorpusConfig) -> set[str]:
    return set(config.kinds)


def estimate(config: TrainConfig) -> Estimate:
    return Estimate(bytes=1_000_000 * config.steps, seconds=5.0, text=f"{config.steps} steps")


STEPS = (
    StepType(
        name="fakesteps.corpus",
        config=CorpusConfig,
        function="fakesteps.steps:corpus",
        output="corpus",
        provides="fakesteps.commands:kinds",
    ),
    StepType(
        name="fakesteps.train",
        config=TrainConfig,
        function="fakesteps.steps:train",
        inputs={"corpus": "corpus", "start": "model"},
        optional=frozenset({"start"}),
        output="model",
        needs=frozenset({"text"}),
        estimate="fakesteps.commands:estimate",
        summary="train a tiny model",
    ),
    StepType(
        name="fakesteps.align",
        config=TrainConfig,
        function="fakesteps.steps:align",
        inputs={"corpus": "corpus", "model": "model"},
        output="model",
        needs=frozenset({"preferences"}),
    ),
    StepType(
        name="fakesteps.evaluate",
        config=EvaluateConfig,
        function="fakesteps.evaluation:evaluate",
        inputs={"base": "model", "aligned": "model"},
        optional=frozenset({"base", "aligned"}),
        output="evaluation",
    ),
    StepType(
        name="fakesteps.compare",
        config=EvaluateConfig,
        function="fakesteps.steps:compare",
        inputs={"corpus": "corpus"},
        gathers="model",
        output="evaluation",
    ),
    StepType(
        name="fakesteps.fail",
        config=FailConfig,
        function="fakesteps.steps:fail",
        inputs={"corpus": "corpus"},
        output="model",
    ),
)
