"""Steps of the alignment room, and their configuration."""

from typing import Literal

from pydantic import Field

from lmwright.core.duration import Duration
from lmwright.pipeline.step import StepType
from lmwright.training.commands import LoopConfig


class DPOConfig(LoopConfig):
    """Learn from preferences: raise chosen answers above rejected ones."""

    beta: float = Field(0.1, gt=0)
    """How strongly the policy is held to the model it started from."""
    likelihood: float = Field(1.0, ge=0)
    """Weight of the chosen answers' own likelihood; 0 is plain DPO."""
    batch_pairs: int = Field(32, gt=0)
    """Pairs per optimiser step."""
    longest: int = Field(256, gt=0)
    """Pairs with more tokens than this in a conversation are left out, and counted."""
    prompts: int = Field(1500, ge=0)
    """Most prompts that the model answers first, to learn from its own errors; fewer where a
    quarter of the step's time does not suffice; 0: written pairs only."""
    questions: int = Field(600, gt=0)
    """Most validation questions that the model is asked each time; fewer where two fifths of the
    step's time do not suffice."""
    samples: int = Field(2, gt=0)
    """Answers to each of them; the first is greedy."""
    most_pairs: int = Field(2000, gt=0)
    """Pairs kept in all, the model's own errors first."""
    temperature: float = Field(0.8, gt=0)
    """Of the other answers."""
    epochs: float = Field(3.0, gt=0)
    """Most often that a pair is seen, however long the budget."""
    optimizer: Literal["muon", "adamw"] = "adamw"
    """Orthogonalised steps are too large for small corrections."""
    learning_rate: float = Field(2e-5, gt=0)
    """AdamW's peak."""
    evaluations: int = Field(2, ge=1)
    """How often the validation questions are asked, the beginning aside."""
    warmup: float = Field(0.1, ge=0, le=1)
    """Share of the steps in which the learning rate rises."""
    most_false_abstention: float = Field(0.02, ge=0, le=1)
    """The kept weights say "I don't know" to at most this share of the validation's real names."""
    checkpoint_every: Duration = Duration(10.0, "seconds")
    """What a kill can cost."""


STEPS = (
    StepType(
        name="alignment.dpo",
        config=DPOConfig,
        function="lmwright.alignment.steps:dpo",
        inputs={"corpus": "corpus", "model": "model"},
        output="model",
        needs=frozenset({"preferences"}),
        summary="Learn from preferences, the model's own errors first",
    ),
)
