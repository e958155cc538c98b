import random
from collections.abc import Callable
from pathlib import Path

import pytest

from lmwright.tokens import tokenizer
from lmwright.tokens.tokenizer import Tokenizer
from tests.real_data import real_data_folder

ALPHABETS = (
    "abcdefghij ABC",
    "0123456789.,;:!?()[]{}'\"",
    " \t\n\r\u00a0\u2003",
    "äöüßéèñçøåłžšć",
    "абвгдежзиклмн",
    "日本語中文字한국어",
    "שלוםمرحبا",
    "😀🎉👩‍👩‍👧‍👦🇩🇪❤️",
    "e\u0301n\u0303\u200d\u200b\ufeff\u0000\u001b\ufffd",
    "नमस्तेไทย",
)
WORDS = ("the", "model", "return", "string", "zebra", "naïve", "quick", "Ünïcode", "x", "def")


def make_text(rng: random.Random) -> str:
    """A text of several scripts, white space, combining marks, and any code points at all."""
    parts = []
    for _ in range(rng.randint(0, 6)):
        if rng.random() < 0.15:
            points = (rng.randrange(0x110000) for _ in range(rng.randint(1, 6)))
            parts.append("".join(chr(p) for p in points if not 0xD800 <= p <= 0xDFFF))
        else:
            parts.append("".join(rng.choices(rng.choice(ALPHABETS), k=rng.randint(1, 8))))
    return "".join(parts)


def make_chat(rng: random.Random) -> list[dict[str, str]]:
    """One to three exchanges, perhaps after a system message."""

    def words(most: int) -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(1, most)))

    messages = [{"role": "system", "content": words(6)}] if rng.random() < 0.3 else []
    for _ in range(rng.randint(1, 3)):
        messages.append({"role": "user", "content": words(12)})
        messages.append({"role": "assistant", "content": words(12)})
    return messages


def make_corpus(seed: int) -> list[str]:
    """A small language of 300 words, and a few real ones."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 7))) for _ in range(300)]
    texts = [" ".join(rng.choices(words, k=30)) + "\n" for _ in range(200)]
    return [*texts, "the quick model returns a string 日本語 naïve\n" * 5]


@pytest.fixture(scope="session")
def random_text() -> Callable[[random.Random], str]:
    return make_text


@pytest.fixture(scope="session")
def random_chat() -> Callable[[random.Random], list[dict[str, str]]]:
    return make_chat


@pytest.fixture(scope="session")
def corpus_texts() -> list[str]:
    return make_corpus(seed=0)


@pytest.fixture(scope="session")
def trained(corpus_texts: list[str]) -> Tokenizer:
    return tokenizer.train(corpus_texts, vocab_size=600)


@pytest.fixture(scope="session")
def folder(trained: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    trained.save(path)
    return path


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data; without it CI fails and a person's run skips."""
    return real_data_folder()
