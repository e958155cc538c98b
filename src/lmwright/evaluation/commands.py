"""The steps of the evaluation room, and their configuration."""

from importlib.util import find_spec
from typing import Literal, Self

from pydantic import Field, model_validator

from lmwright.core.config import Config
from lmwright.pipeline.step import StepType


class ChatEvaluationConfig(Config):
    """Score the models of a run on what its corpus holds out."""

    questions: int = Field(2_400, gt=0)
    """At most this many test questions per model, evenly spread over their kinds."""
    base_questions: int = Field(100, gt=0)
    """At most this many for the base model, which was never taught to answer."""
    answer_tokens: int = Field(160, gt=0)
    """Longest answer; where every expected answer is shorter, the limit lies just past those."""
    text_bytes: int = Field(64_000, gt=0)
    """At most this much validation text for bits per byte."""
    false_abstention: float = Field(0.03, ge=0, le=1)
    """What the TF-IDF baseline may refuse of real names where no model sets the mark."""
    max_sequences: int = Field(128, gt=0)
    """Answers generated at once."""


class TaskEvaluationConfig(Config):
    """Score the models of a run on the test split of a labelled task."""

    compare_by: Literal["accuracy", "macro_f1", "matthews"] = "accuracy"
    """Of classes, the score that decides which model is best and gets the intervals."""
    shown_errors: int = Field(8, ge=0)
    """Mistakes of the best model that the report shows."""


class LanguageModelsConfig(Config):
    """Compare the language models of a run on its held-out text."""

    text_bytes: int = Field(64_000, gt=0)
    """At most this much validation text."""
    row_length: int = Field(128, gt=1)
    """Tokens of context at most, as in training."""
    ask_transformers: bool = False
    """Whether transformers (an extra) computes the same logits from the same folders."""
    prompt: str = ""
    """What every causal model continues; empty: nothing."""
    continuation_tokens: int = Field(40, gt=0)
    """Longest continuation."""
    seed: int = 0
    """Of what is hidden or cut out for models that do not predict the next token."""


class SequencesConfig(Config):
    """Let the models of a run write the targets of a test split, and score what they write."""

    rows: int = Field(1_000, gt=0)
    """At most so many test rows, evenly spread."""
    beams: int = Field(1, gt=0)
    """Candidates kept by the search; 1 takes the likeliest token."""
    length_penalty: float = Field(0.6, ge=0)
    """Of the search: 0 favours short texts."""
    most_tokens: int = Field(80, gt=0)
    """Longest text."""
    shown: int = Field(8, ge=0)
    """Rows that the report shows, with what each model wrote."""

    @model_validator(mode="after")
    def _scorers_are_here(self) -> Self:
        """Told before the models are trained, not when they are to be scored."""
        for package in ("sacrebleu", "rouge_score"):
            if find_spec(package) is None:
                raise ValueError("scoring needs the extra `tasks`: pip install 'lmwright[tasks]'")
        return self


STEPS = (
    StepType(
        name="evaluation.chat",
        config=ChatEvaluationConfig,
        function="lmwright.evaluation.steps:evaluate",
        inputs={
            "corpus": "corpus",
            "text": "token_shards",
            "base": "model",
            "chat": "model",
            "aligned": "model",
            "int8": "model",
        },
        optional=frozenset({"text", "base", "chat", "aligned", "int8"}),
        output="evaluation",
        summary="Score every model of the run on held-out text and questions, beside TF-IDF lookup",
    ),
    StepType(
        name="evaluation.task",
        config=TaskEvaluationConfig,
        function="lmwright.evaluation.task_steps:evaluate",
        inputs={"dataset": "dataset", "examples": "examples"},
        gathers="task_model",
        output="evaluation",
        summary="Score every classifier or tagger of the run on the test split, beside baselines",
    ),
    StepType(
        name="evaluation.language_models",
        config=LanguageModelsConfig,
        function="lmwright.evaluation.language_models:compare",
        inputs={"corpus": "corpus"},
        gathers="model",
        output="evaluation",
        summary="Compare every language model of the run on the same held-out text",
    ),
    StepType(
        name="evaluation.sequences",
        config=SequencesConfig,
        function="lmwright.evaluation.sequences:evaluate",
        inputs={"dataset": "dataset", "examples": "examples", "tokenizer": "tokenizer"},
        gathers="task_model",
        output="evaluation",
        summary="Score what every model of the run writes: translations, summaries or answers",
    ),
)
