"""A tiny random model that transformers can open, and a tokenizer of bytes and a few merges."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from lmwright import models
from lmwright.engine.llm import LLM
from lmwright.models.config import TransformerConfig
from lmwright.models.transformer import Decoder
from lmwright.tokens.tokenizer import Tokenizer, train

VOCABULARY = 320
TEXT = (
    "str.upper returns a copy of the string converted to uppercase. "
    "Größe, naïve façade, 日本語, 🙂🙃. What does list.append do? "
)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Two threads only wait for each other on models this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train([TEXT * 3], vocab_size=VOCABULARY)


def build_model(seed: int = 0, **changes: object) -> Decoder:
    shape = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 96,
        "tie_word_embeddings": True,
    }
    model = Decoder(TransformerConfig.model_validate(shape | changes))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            # Wide enough that attention is not uniform and answers are not one token repeated.
            noise = torch.randn(weight.shape, generator=generator)
            weight.copy_(1 + 0.2 * noise if weight.dim() == 1 else 0.4 * noise)
    return model.eval()


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., Decoder]:
    return build_model


@pytest.fixture(scope="session")
def model() -> Decoder:
    return build_model()


@pytest.fixture
def llm(model: Decoder, tokenizer: Tokenizer) -> LLM:
    return LLM.from_model(model, tokenizer, max_sequences=4)


@pytest.fixture(scope="session")
def model_folder(
    model: Decoder, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    models.save(model, folder, tokenizer=tokenizer, eos_token_id=tokenizer.end_of_turn_id)
    return folder


@pytest.fixture(scope="session")
def random_prompts() -> Callable[..., list[list[int]]]:
    def make(count: int, seed: int, longest: int = 40) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        lengths = torch.randint(1, longest + 1, (count,), generator=generator).tolist()
        return [
            torch.randint(3, VOCABULARY, (length,), generator=generator).tolist()
            for length in lengths
        ]

    return make
