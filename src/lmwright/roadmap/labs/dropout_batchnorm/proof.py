"""A text CNN learns the sentiment of film reviews with the layers in use."""

from typing import Any

from lmwright.roadmap.training_proofs import sentiment_accuracy


def measure() -> dict[str, Any]:
    """Accuracy in percent on the validation split after a fixed number of steps."""
    return {"validation_accuracy_percent": sentiment_accuracy("text_cnn")}
