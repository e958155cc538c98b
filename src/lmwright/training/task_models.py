"""Models of labelled tasks: fresh ones of any architecture, published ones with a new head."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import nn

from lmwright import models
from lmwright.core.errors import LmwrightError
from lmwright.models import families
from lmwright.models.assembly import assemble
from lmwright.models.build import build
from lmwright.models.classic_config import MODEL_TYPES, classic_config
from lmwright.models.config import Task, TransformerConfig
from lmwright.models.exchange import config_from, read_config_json, read_weights
from lmwright.models.folders import classic_model, load_classic, save_classic
from lmwright.models.hub import locate

HEADS: Mapping[str, Task] = {
    "classification": "sequence_classification",
    "regression": "sequence_classification",
    "tagging": "token_classification",
    "question_answering": "span_qa",
    "translation": "sequence_to_sequence",
    "summarization": "sequence_to_sequence",
}
"""A dataset's task -> the model's."""

ENCODER: Mapping[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
"""Shape of a transformer that starts from nothing on a few thousand examples."""


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


def new_model(kind: Mapping[str, str], shape: Mapping[str, Any], needs: Needs, seed: int) -> Any:
    """A model with fresh weights.

    Args:
        kind: fields of its config that the architecture decides, `model_type` among them:
            "perceptron", "text_cnn", "recurrent", "recurrent_encoder_decoder", "encoder" or
            "encoder_decoder".
        shape: fields of its config that differ from the usual.
        needs: what the examples ask of it.
        seed: of the weights.

    Raises:
        LmwrightError: if the shape is impossible, or the architecture cannot do the task.
    """
    model: Any
    if kind["model_type"] in MODEL_TYPES:
        model = classic_model(classic_config(_classic_values(kind, shape, needs)))
    else:
        model = build(_transformer_config(kind["model_type"], shape, needs))
    model.initialize(seed)
    return model


def published_model(folder: Path, needs: Needs) -> nn.Module:
    """A trained transformer with a fresh head for the task (or its own, if it has that very one).

    Raises:
        LmwrightError: if its vocabulary is smaller than the examples', or it cannot do the task.
    """
    place = locate(folder)
    values = read_config_json(place)
    if values.get("model_type") in MODEL_TYPES:
        return load_classic(place)
    task = HEADS[needs.task]
    if task != "sequence_to_sequence":
        values = {**values, **_label_names(needs)}
    config = config_from(values, place, task)
    if config.vocab_size < needs.vocab_size:
        raise LmwrightError(
            f"{folder} has {config.vocab_size:,} tokens, the examples were encoded with "
            f"{needs.vocab_size:,}",
            hint="encode them with the model's own tokenizer",
        )
    model = assemble(config, read_weights(place), place, new_head=True)
    return model.float().train()


def save_model(model: nn.Module, folder: Path, tokenizer: Path) -> None:
    """Write a model's folder, with its tokenizer."""
    if isinstance(model.config, TransformerConfig):
        models.save(model, folder, tokenizer=tokenizer)
    else:
        save_classic(model, folder, tokenizer=tokenizer)  # type: ignore[arg-type]


def load_model(folder: Path) -> Any:
    """Open a folder that `save_model` wrote, in evaluation mode."""
    values = read_config_json(Path(folder))
    if values.get("model_type") in MODEL_TYPES:
        return load_classic(folder)
    return models.load(folder)


def label_names(model: nn.Module) -> tuple[str, ...]:
    """The names of a model's classes or tags, in the order of its logits."""
    config: Any = model.config
    if isinstance(config, TransformerConfig):
        return config.head.labels if config.head else ()
    return tuple(getattr(config, "labels", ()))


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
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise LmwrightError(f"shape: {place} {first['msg']}".strip()) from error
    # Through the published form, so that the folder written at the end says all there is to say.
    task = HEADS[needs.task]
    names = {} if task == "sequence_to_sequence" else _label_names(needs)
    return TransformerConfig.from_hf({**fresh.to_hf(), **names}, task)


def _label_names(needs: Needs) -> dict[str, Any]:
    """What config.json says of a head's outputs."""
    if not needs.labels:
        return {"num_labels": 1, "id2label": {"0": "score"}}
    return {"id2label": {str(index): label for index, label in enumerate(needs.labels)}}


def is_bio(labels: Sequence[str]) -> bool:
    """Whether tags mark entities: each is O, or begins or continues one."""
    return all(label == "O" or label[:2] in ("B-", "I-") for label in labels)
