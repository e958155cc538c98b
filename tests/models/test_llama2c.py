"""llama2.c checkpoints, against a transcription of `run.c` and on the real stories260K."""

import struct

import numpy as np
import pytest
import torch
import transformers

from lmwright import models
from lmwright.core.errors import LmwrightError
from lmwright.models.convert import convert
from tests.models.cases import relative

NUMBERS = (16, 24, 2, 4, 2, 50, 32)
"""hidden, intermediate, layers, heads, key-value heads, vocabulary, positions"""


def run_c(raw, tokens):
    """`run.c: forward` for each token in turn: (T, V) float32; version 0 and 1."""
    if raw[:4] == b"24ka":
        dim, hidden, layers, heads, kv, vocab, length = struct.unpack_from("<7i", raw, 8)
        shared, at = raw[36] == 1, 256
    else:
        dim, hidden, layers, heads, kv, vocab, length = struct.unpack_from("<7i", raw)
        shared, vocab, at = vocab > 0, abs(vocab), 28
    size = dim // heads

    def take(*shape):
        nonlocal at
        count = int(np.prod(shape))
        found = np.frombuffer(raw, "<f4", count, at).reshape(shape)
        at += 4 * count
        return found

    version = raw[:4] == b"24ka"
    if version:
        rms_att, rms_ffn, rms_final = take(layers, dim), take(layers, dim), take(dim)
        table = take(vocab, dim)
    else:
        table, rms_att = take(vocab, dim), take(layers, dim)
    wq, wk = take(layers, dim, dim), take(layers, kv * size, dim)
    wv, wo = take(layers, kv * size, dim), take(layers, dim, dim)
    if not version:
        rms_ffn = take(layers, dim)
    w1, w2, w3 = take(layers, hidden, dim), take(layers, dim, hidden), take(layers, hidden, dim)
    if not version:
        rms_final = take(dim)
        take(2, length * size // 2)
    wcls = table if shared else take(vocab, dim)

    def rmsnorm(x, weight):
        return weight * (x / np.sqrt((x * x).mean() + np.float32(1e-5)))

    def rotate(x, position):
        x = x.reshape(-1, 2).copy()
        even = np.arange(0, len(x) * 2, 2) % size
        angle = position / np.float32(10000.0) ** (even / np.float32(size))
        c, s = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        return np.stack((x[:, 0] * c - x[:, 1] * s, x[:, 0] * s + x[:, 1] * c), 1).reshape(-1)

    keys = [[] for _ in range(layers)]
    values = [[] for _ in range(layers)]
    results = []
    for position, token in enumerate(tokens):
        x = table[token].copy()
        for i in range(layers):
            y = rmsnorm(x, rms_att[i])
            q = rotate(wq[i] @ y, position).reshape(heads, size)
            keys[i].append(rotate(wk[i] @ y, position).reshape(kv, size))
            values[i].append((wv[i] @ y).reshape(kv, size))
            out = np.empty((heads, size), np.float32)
            for h in range(heads):
                past = np.stack(keys[i])[:, h * kv // heads]
                scores = past @ q[h] / np.sqrt(np.float32(size))
                weights = np.exp(scores - scores.max())
                out[h] = (weights / weights.sum()) @ np.stack(values[i])[:, h * kv // heads]
            x = x + wo[i] @ out.reshape(-1)
            y = rmsnorm(x, rms_ffn[i])
            gate = w1[i] @ y
            x = x + w2[i] @ (gate / (1 + np.exp(-gate)) * (w3[i] @ y))
        results.append(wcls @ rmsnorm(x, rms_final))
    return torch.from_numpy(np.stack(results))


def checkpoint(version, *, tied, seed=0, numbers=NUMBERS):
    """A random file as `export.py` writes it."""
    dim, hidden, layers, heads, kv, vocab, length = numbers
    size = dim // heads
    count = vocab * dim * (1 if tied else 2) + dim * (2 * layers + 1)
    count += layers * (2 * dim * dim + 2 * kv * size * dim + 3 * dim * hidden)
    if version == 0:
        head = struct.pack("<7i", *numbers[:5], vocab if tied else -vocab, length)
        count += length * size
    else:
        head = b"24ka" + struct.pack("<i7iB", version, *numbers, tied)
        head += bytes(256 - len(head))
    draw = np.random.default_rng(seed)
    return head + draw.normal(0, 0.3, count).astype("<f4").tobytes()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("version", [0, 1])
def test_logits_of_random_checkpoints(version, tied, tmp_path):
    raw = checkpoint(version, tied=tied)
    (tmp_path / "model.bin").write_bytes(raw)
    model = models.load(tmp_path / "model.bin")
    assert model.config.tie_word_embeddings == tied
    tokens = torch.randint(50, (14,), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = model(tokens[None]).logits[0]
    assert relative(found, run_c(raw, tokens.tolist())) <= 1e-5


def test_the_real_model_equals_an_independent_reader(data):
    path = data / "stories260K" / "stories260K.bin"
    model = models.load(path)
    tokens = torch.randint(512, (64,), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = model(tokens[None]).logits[0]
    expected = run_c(path.read_bytes(), tokens.tolist())
    assert relative(found, expected) <= 1e-5


def test_the_real_model_tells_a_story(data, tmp_path):
    path = data / "stories260K" / "stories260K.bin"
    convert(str(path), tmp_path / "stories", note=lambda text: None)
    from lmwright.engine import LLM, SamplingParams

    llm = LLM(tmp_path / "stories")
    prompt = "Once upon a time, there was a"
    (done,) = llm.generate([prompt], SamplingParams(temperature=0.0, max_tokens=100))
    words = done.text.split()
    assert "little girl named Lily" in done.text
    assert len(words) > 50
    assert len(set(words)) > 25


def test_a_converted_checkpoint_opens_in_transformers(tmp_path):
    (tmp_path / "model.bin").write_bytes(checkpoint(1, tied=False))
    convert(str(tmp_path / "model.bin"), tmp_path / "folder", note=lambda text: None)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "folder")
    tokens = torch.arange(10)[None]
    with torch.no_grad():
        expected = theirs(tokens).logits
        assert relative(models.load(tmp_path / "folder")(tokens).logits, expected) <= 1e-5


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (checkpoint(0, tied=True)[:-4], "has 19,416 bytes"),
        (checkpoint(0, tied=True) + b"x", "a llama2.c checkpoint with its header has 19,420"),
        (checkpoint(1, tied=True)[:100], "ends within the header"),
        (checkpoint(1, tied=False)[:5000], "has 5,000 bytes"),
        (checkpoint(2, tied=True), "of version 2; 0 and 1"),
        (b"", "not a llama2.c checkpoint"),
        (b"PK\x03\x04" + bytes(100), "not a llama2.c checkpoint"),
        (struct.pack("<7i", 16, 24, 2, 4, 3, 50, 32) + bytes(99), "its header makes no sense"),
        (struct.pack("<7i", *(2**31 - 1,) * 7) + bytes(99), "makes no sense"),
        (struct.pack("<7i", 2**30, 24, 2, 2, 2, 2**30, 2**30) + bytes(99), "has 127 bytes"),
    ],
)
def test_what_is_refused(raw, message, tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(raw)
    with pytest.raises(LmwrightError) as caught:
        models.load(path)
    assert message in caught.value.what
    assert str(path) in caught.value.what
