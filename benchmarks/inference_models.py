"""The models that inference benchmarks run, written once and converted to every peer's format."""

import json
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

VOCABULARY = 9_196
SMALL_VOCABULARY = 1_024
"""Of toys: learned in a second."""
CONTEXT = 8_192


@dataclass(frozen=True)
class Shape:
    """A LLaMA-shaped model with random weights.

    Args:
        name: for the table.
        layers, width, heads, key_value_heads, feed_forward: of the model; heads are 64 wide.
        new_tokens: generated in a round of decoding, alone and in a batch.
    """

    name: str
    layers: int
    width: int
    heads: int
    key_value_heads: int
    feed_forward: int
    new_tokens: tuple[int, int] = (64, 32)


SMALL = Shape("8 x 256", 8, 256, 4, 2, 704, (128, 64))
MIDDLE = Shape("12 x 768", 12, 768, 12, 4, 2_048)
LARGE = Shape("16 x 1,536", 16, 1_536, 24, 8, 4_096, (32, 12))
TOY = Shape("2 x 128", 2, 128, 2, 1, 256, (8, 4))
SHAPES = (SMALL, MIDDLE, LARGE)
"""About 8, 80 and 420 million parameters; with int8 weights the last fits no cache."""


def write_folder(shape: Shape, folder: Path, *, vocabulary: int = VOCABULARY) -> Path:
    """Write the shape as a folder that lmwright and transformers open: float32, seed 0.

    The tokenizer is learned from the standard library's help topics, so that servers can be asked
    in words; input and output embeddings are apart, since not every format can tie them.
    """
    import torch

    from lmwright import models
    from lmwright.models.config import TransformerConfig
    from lmwright.models.transformer import Decoder

    words = _tokenizer(vocabulary)
    model = Decoder(
        TransformerConfig(
            vocab_size=words.vocab_size,
            hidden_size=shape.width,
            intermediate_size=shape.feed_forward,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.key_value_heads,
            head_dim=64,
            max_position_embeddings=CONTEXT,
            eos_token_id=words.eos_token_id,
        )
    )
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            # Not as training begins, with blocks that add nothing: all of them shall count.
            if weight.ndim > 1:
                weight.normal_(0.0, 0.03, generator=draw)
    models.save(model, folder, tokenizer=words, eos_token_id=words.eos_token_id)
    return folder


@cache
def _tokenizer(vocabulary: int):  # type: ignore[no-untyped-def]
    from pydoc_data.topics import topics

    from lmwright.corpora.python_text import python_documents
    from lmwright.tokens.tokenizer import train

    texts = [topics[name] for name in sorted(topics)]
    if vocabulary > SMALL_VOCABULARY:
        texts += [document.text for document in python_documents(3_000_000)]
    return train(texts, vocab_size=vocabulary)


class Formats:
    """One model in every format, each made when it is first asked for.

    Args:
        folder: of `write_folder`, or of a run's model.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._scratch = Path(tempfile.mkdtemp(prefix="inference-", dir=folder.parent))
        self._made: dict[str, Path] = {}

    @property
    def vocabulary(self) -> int:
        """V of the model."""
        config = json.loads((self.folder / "config.json").read_text())
        return int(config["vocab_size"])

    def gguf(self, kind: str) -> Path:
        """A GGUF file; `kind` is one of f32, q8_0, q4_0."""
        from gguf_file import write_llama

        path = self._scratch / f"model-{kind}.gguf"
        if kind not in self._made:
            write_llama(self.folder, path, kind)
            self._made[kind] = path
        return path

    def ctranslate2(self, quantization: str) -> Path:
        """A folder of CTranslate2; `quantization` is int8 or float32."""
        path = self._scratch / f"ctranslate2-{quantization}"
        if quantization not in self._made:
            from ctranslate2.converters import TransformersConverter

            TransformersConverter(str(self.folder)).convert(str(path), quantization=quantization)
            _name_every_token(path / "config.json")
            self._made[quantization] = path
        return path


def _name_every_token(file: Path) -> None:
    """Put the end token where the tokenizer has none: the null written there is not readable."""
    config = json.loads(file.read_text())
    roles = {
        role: config[role] or config["eos_token"] for role in config if role.endswith("_token")
    }
    file.write_text(json.dumps(config | roles))
