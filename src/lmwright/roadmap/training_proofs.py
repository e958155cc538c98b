"""Small trainings on real data for the labs' proofs: the real stack, a fixed number of steps.

Nothing is measured on the way, and one thread computes: what comes out is a function of the parts
in use alone.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from lmwright.corpora import catalog
from lmwright.models.classic_config import RecurrentConfig, TextCNNConfig
from lmwright.models.config import ExpertsConfig, HeadConfig, TransformerConfig
from lmwright.models.convolutional import TextCNN
from lmwright.models.heads import MaskedLM as MaskedLanguageModel
from lmwright.models.recurrent import RecurrentClassifier
from lmwright.models.transformer import Decoder
from lmwright.tokens import example_loader, loader
from lmwright.tokens.example_loader import ExampleLoader
from lmwright.tokens.examples import Examples
from lmwright.tokens.loader import Loader
from lmwright.tokens.packing import PackedRows, TokenDocument, pack
from lmwright.training import optimizers
from lmwright.training.budget import TrainingPlan
from lmwright.training.objectives.causal_lm import CausalLM
from lmwright.training.objectives.classification import Classification
from lmwright.training.objectives.loss import Objective
from lmwright.training.objectives.masked_lm import MaskedLM
from lmwright.training.trainer import LoopSettings, Trainer

PAD, MASK, UNKNOWN = range(3)
"""Special ids of `Words`."""
ROW_LENGTH, BATCH_ROWS = 96, 16
"""Of a training row in tokens, and of a batch in rows."""
HELD_OUT_ROWS = 64
"""What a language model is judged on."""
SMALL: dict[str, Any] = {
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 24,
    "max_position_embeddings": ROW_LENGTH,
    "tie_word_embeddings": True,
}
"""Shape of the transformers."""


@dataclass(frozen=True)
class Words:
    """The most frequent words of some texts, split at white space; ids from 3.

    Args:
        ids: of each word.
    """

    ids: dict[str, int]

    @classmethod
    def of(cls, texts: Iterable[str], most: int) -> "Words":
        """Those of `texts`, the commonest first, equals in the order of the alphabet."""
        counted = Counter(word for text in texts for word in text.split())
        chosen = sorted(counted, key=lambda word: (-counted[word], word))[:most]
        return cls({word: UNKNOWN + 1 + place for place, word in enumerate(chosen)})

    def __len__(self) -> int:
        return UNKNOWN + 1 + len(self.ids)

    def encode(self, text: str) -> list[int]:
        """The ids of a text's words."""
        return [self.ids.get(word, UNKNOWN) for word in text.split()]


def character_model_nats(steps: int = 80, experts: ExpertsConfig | None = None) -> float:
    """Nats per byte of a small decoder on held-out speeches of Shakespeare.

    AdamW takes every step, so that both the loss's and the optimiser's part are called.

    Args:
        steps: of training.
        experts: in place of feed-forwards, where given.
    """
    rows = catalog.rows(catalog.find("tiny_shakespeare"))
    packed = {split: _bytes_in_rows(rows[split]) for split in ("train", "validation")}
    model = Decoder(TransformerConfig(vocab_size=256, experts=experts, **SMALL))
    model.initialize(seed=0)
    _train(model, CausalLM(), _batches(packed["train"]), steps, learning_rate=4e-3)
    return _held_out(model, CausalLM(), packed["validation"])


def hidden_word_nats(steps: int = 80) -> float:
    """Nats per hidden word of a small encoder on held-out articles of Wikipedia."""
    rows = catalog.rows(catalog.find("wikitext_2"))
    words = Words.of((row["text"] for row in rows["train"]), most=2_000)
    packed = {
        split: pack(
            (TokenDocument(words.encode(row["text"])) for row in rows[split]),
            ROW_LENGTH,
            pad_token_id=PAD,
        )
        for split in ("train", "validation")
    }
    head = HeadConfig(task="masked_lm", activation="gelu")
    shape = TransformerConfig(architecture="encoder", vocab_size=len(words), head=head, **SMALL)
    model = MaskedLanguageModel(shape)
    model.initialize(seed=0)
    tasks = [MaskedLM(len(words), MASK, (PAD, UNKNOWN), seed=seed) for seed in (0, 1)]
    _train(model, tasks[0], _batches(packed["train"]), steps, learning_rate=4e-3)
    return _held_out(model, tasks[1], packed["validation"])


def sentiment_accuracy(kind: Literal["text_cnn", "recurrent"], steps: int = 240) -> float:
    """Accuracy in percent of a small classifier on held-out sentences of film reviews.

    Args:
        kind: a CNN with batch normalisation and dropout, or an LSTM that reads from both sides.
        steps: of training.
    """
    dataset = catalog.find("sst2")
    rows = catalog.rows(dataset)
    words = Words.of((row["text"] for row in rows["train"]), most=4_000)
    examples = {
        split: _labelled(rows[split], words, dataset.labels) for split in ("train", "validation")
    }
    shared = {"vocab_size": len(words), "embedding_size": 64, "dropout": 0.4}
    model: TextCNN | RecurrentClassifier
    if kind == "text_cnn":
        model = TextCNN(TextCNNConfig(num_filters=48, batch_norm=True, **shared))
    else:
        shape = RecurrentConfig(
            cell="lstm", hidden_size=32, bidirectional=True, pooling="max", **shared
        )
        model = RecurrentClassifier(shape)
    model.initialize(seed=0)
    batches = ExampleLoader(examples["train"], batch_tokens=1_200, seed=0)
    _train(model, Classification(), batches, steps, learning_rate=4e-3)
    right = 0
    with torch.inference_mode():
        for batch in example_loader.in_order(examples["validation"]):
            logits = model(batch.input_ids, batch.attention_mask).logits
            right += int((logits.argmax(1) == batch.labels).sum())
    return 100 * right / len(examples["validation"])


def _train(
    model: nn.Module, objective: Objective, data: Any, steps: int, *, learning_rate: float
) -> None:
    """A fixed number of steps of the real loop; the model is left in its state of use."""
    chosen = optimizers.build(
        model,
        None,
        name="adamw",
        learning_rate=learning_rate,
        matrix_learning_rate=learning_rate,
        weight_decay=0.1,
    )
    plan = TrainingPlan(steps=steps, micro_rows=1_000, threads=1)
    settings = LoopSettings(warmup=0.1)
    Trainer(model, objective, data, chosen, plan, settings=settings, note=lambda _: None).train()
    model.eval()


def _held_out(model: nn.Module, objective: Objective, rows: PackedRows) -> float:
    """Mean loss of the first rows."""
    with torch.inference_mode():
        result = objective.loss(model, loader.batch(rows, slice(0, HELD_OUT_ROWS)))
    return float(result.loss) / result.weight


def _batches(rows: PackedRows) -> Loader:
    return Loader(rows, batch_rows=BATCH_ROWS, seed=0)


def _bytes_in_rows(rows: list[catalog.Row]) -> PackedRows:
    text = "\n\n".join(row["text"] for row in rows).encode()
    ids = np.frombuffer(text, np.uint8).astype(np.uint32)
    return pack([TokenDocument(ids)], ROW_LENGTH, pad_token_id=PAD)


def _labelled(rows: list[catalog.Row], words: Words, labels: tuple[str, ...]) -> Examples:
    texts = [words.encode(row["text"]) for row in rows]
    return Examples(
        task="classification",
        pad_token_id=PAD,
        input_ids=np.concatenate([np.array(text, np.int64) for text in texts]),
        starts=np.cumsum([0] + [len(text) for text in texts]),
        labels=np.array([labels.index(row["label"]) for row in rows]),
        rows=np.arange(len(rows)),
    )
