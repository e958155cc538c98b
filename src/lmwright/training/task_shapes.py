"""From a labelled task's examples to its model's config; torch-free, a dry run needs it too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from lmwright.core.config import first_problem
from lmwright.core.errors import LmwrightError
from lmwright.models import families
from lmwright.models.classic_config import MODEL_TYPES, ClassicConfig, classic_config
from lmwright.models.config import Task, TransformerConfig

HEADS: Mapping[str, Task] = {
    "classification": "sequence_classification",
    "regression": "sequence_classification",
    "tagging": "token_classification",
    "question_answering": "span_qa",
    "translation": "sequence_to_sequence",
    "summarization": "sequence_to_sequence",
    "dialogue": "sequence_to_sequence",
}
"""A dataset's task -> the model's."""

ENCODER: Mapping[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
"""Shape of a transformer that starts from nothing on a few thousand examples."""


USUAL_VOCABULARY = 8000
"""Tokens of the tokenizers in the recipes."""

USUAL_LENGTH = 64
"""Tokens of a longish example."""


@dataclass(frozen=True)
class Needs:
    """What the encoded examples ask of a model; from their metadata.

    Args:
        task: of the dataset.
        labels: names of classes or tags.
        vocab_size: V of the tokenizer; `target_vocab_size` of the other side's.
        longest: tokens of the longest example, or target.
        pad_token_id, eos_token_id, decoder_start_token_id: of the tokenizers.
        pairs: whether there are two sentences to tell apart.
    """

    task: str
    labels: tuple[str, ...]
    vocab_size: int
    target_vocab_size: int | None
    longest: int
    pad_token_id: int
    eos_token_id: int
    decoder_start_token_id: int | None
    pairs: bool

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> "Needs":
        """Read from the metadata of a folder of examples."""
        splits = metadata["splits"].values()
        names = ("task", "vocab_size", "target_vocab_size", "pad_token_id", "eos_token_id")
        return cls(
            **{name: metadata[name] for name in (*names, "decoder_start_token_id", "pairs")},
            labels=tuple(metadata["labels"]),
            longest=max(max(s["longest"], s["longest_target"]) for s in splits),
        )

    @property
    def outputs(self) -> int:
        """Number of classes or tags; 1 for a score."""
        return len(self.labels) or 1


def usual_needs(task: str) -> Needs:
    """What the examples of a task will ask for, before there are any.

    The number of labels and of tokens is a guess; what is possible does not hang on it.
    """
    sequences = HEADS[task] == "sequence_to_sequence"
    return Needs(
        task=task,
        labels=() if sequences else ("O", "B-X", "I-X"),
        vocab_size=USUAL_VOCABULARY,
        target_vocab_size=USUAL_VOCABULARY if sequences else None,
        longest=USUAL_LENGTH,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=1 if sequences else None,
        pairs=False,
    )


def model_config(
    kind: Mapping[str, str], shape: Mapping[str, Any], needs: Needs
) -> ClassicConfig | TransformerConfig:
    """The config of a model that starts from nothing.

    Args:
        kind: fields of the config that the architecture decides, `model_type` among them:
            "perceptron", "text_cnn", "recurrent", "recurrent_encoder_decoder", "encoder" or
            "encoder_decoder".
        shape: fields that differ from the usual; of a transformer `model_type` names the family.
        needs: what the examples ask of it.

    Raises:
        LmwrightError: if the shape is impossible, or the architecture cannot do the task.
    """
    if kind["model_type"] in MODEL_TYPES:
        return classic_config(_classic_values(kind, shape, needs))
    return _transformer_config(kind["model_type"], shape, needs)


def label_keys(needs: Needs) -> dict[str, Any]:
    """What config.json says of a head's outputs."""
    if not needs.labels:
        return {"num_labels": 1, "id2label": {"0": "score"}}
    return {"id2label": {str(index): label for index, label in enumerate(needs.labels)}}


def _classic_values(
    kind: Mapping[str, str], shape: Mapping[str, Any], needs: Needs
) -> dict[str, Any]:
    """The content of a classic model's config.json."""
    values: dict[str, Any] = {
        **kind,
        "vocab_size": needs.vocab_size,
        "pad_token_id": needs.pad_token_id,
        "eos_token_id": needs.eos_token_id,
    }
    if HEADS[needs.task] == "sequence_to_sequence":
        values["target_vocab_size"] = needs.target_vocab_size
        values["decoder_start_token_id"] = needs.decoder_start_token_id
    else:
        values |= {"num_labels": needs.outputs, "labels": needs.labels}
    if shape.get("crf") and is_bio(needs.labels):
        values["tag_scheme"] = "BIO"
    return values | dict(shape)


def _transformer_config(
    architecture: str, shape: Mapping[str, Any], needs: Needs
) -> TransformerConfig:
    usual = "bert" if architecture == "encoder" else "bart"
    family = families.named(str(shape.get("model_type", usual)))
    values = {
        **ENCODER,
        "vocab_size": max(needs.vocab_size, needs.target_vocab_size or 0),
        # Room beyond what was seen, for texts to come; a learned table costs little.
        "max_position_embeddings": max(64, 2 * needs.longest),
        "pad_token_id": needs.pad_token_id,
        "eos_token_id": needs.eos_token_id,
        "decoder_start_token_id": needs.decoder_start_token_id,
        **shape,
    }
    values.pop("model_type", None)
    if architecture == "encoder_decoder":
        values.setdefault("num_decoder_layers", values["num_hidden_layers"])
    try:
        fresh = TransformerConfig.model_validate(family.fresh(**values))
    except ValidationError as error:
        raise LmwrightError(first_problem(error, TransformerConfig)) from error
    # Through the published form, so that the folder written at the end says all there is to say.
    task = HEADS[needs.task]
    names = {} if task == "sequence_to_sequence" else label_keys(needs)
    return TransformerConfig.from_hf({**fresh.to_hf(), **names}, task)


def is_bio(labels: Sequence[str]) -> bool:
    """Whether tags mark entities: each is O, or begins or continues one."""
    return all(label == "O" or label[:2] in ("B-", "I-") for label in labels)
