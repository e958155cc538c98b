"""GGUF files: every family's logits, every storage type's values, and what is refused."""

import random
import struct
import tracemalloc

import gguf
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from lmwright import models
from lmwright.core.errors import LmwrightError
from lmwright.models.gguf import reader
from lmwright.models.gguf.container import GGUFFile
from tests.models import gguf_cases
from tests.models.cases import relative

SUPPORTED_THERE = ["llama", "llama tied", "qwen2", "qwen3", "gemma2", "gpt2", "bloom"]
"""What transformers reads from GGUF as it was written: it has no NeoX and no Gemma, and takes the
experts' width from elsewhere."""


def compare(name, folder, path, bound=1e-5):
    """Our reading of the file against transformers' of a folder with the same weights."""
    tokens = torch.randint(96, (2, 12), generator=torch.Generator().manual_seed(2))
    ours = models.load(path)
    with torch.no_grad():
        if name == "bert":
            expected = transformers.BertModel.from_pretrained(folder)(tokens).last_hidden_state
            found = ours.hidden_states(tokens)
        else:
            opener = transformers.AutoModelForCausalLM
            expected = opener.from_pretrained(folder)(tokens).logits
            found = ours(tokens).logits
    assert expected.square().mean().sqrt() >= 0.1
    assert relative(found, expected) <= bound
    return ours


@pytest.mark.parametrize("kind", ["f32", "q4_0"])
@pytest.mark.parametrize("name", gguf_cases.CASES)
def test_weights_and_config_are_the_folders(name, kind, tmp_path):
    gguf_cases.reference(name, 0, tmp_path)
    gguf_cases.write(name, tmp_path, tmp_path / "model.gguf", kind)
    values, weights = reader.read(tmp_path / "model.gguf")
    expected = load_file(tmp_path / "model.safetensors")
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[key], expected[key]) for key in expected)
    config = transformers.AutoConfig.from_pretrained(tmp_path).to_dict()
    # llama.cpp does not tell Mistral from LLaMA; None means what the file says.
    config["model_type"] = config["model_type"].replace("mistral", "llama")
    config = {key: value for key, value in config.items() if value is not None}
    read = transformers.AutoConfig.for_model(**values).to_dict()
    unwritten = {
        "dtype",
        "transformers_version",
        "initializer_range",
        "_name_or_path",
        "architectures",
    }
    unwritten |= {"bos_token_id", "eos_token_id", "pad_token_id", "use_cache", "seq_length"}
    different = {key for key in config if config[key] != read.get(key)} - unwritten
    assert not different, [(key, config[key], read.get(key)) for key in different]


@pytest.mark.parametrize("name", gguf_cases.CASES)
def test_logits_of_every_family(name, tmp_path):
    gguf_cases.reference(name, 0, tmp_path / "folder")
    gguf_cases.write(name, tmp_path / "folder", tmp_path / "model.gguf", "f32")
    ours = compare(name, tmp_path / "folder", tmp_path / "model.gguf")
    assert {p.dtype for p in ours.parameters()} == {torch.float32}


@pytest.mark.parametrize("kind", ["f16", "bf16", "q8_0", "q4_0"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral", "bloom"])
def test_logits_of_every_storage_type(name, kind, tmp_path):
    gguf_cases.reference(name, 1, tmp_path / "folder")
    gguf_cases.write(name, tmp_path / "folder", tmp_path / "model.gguf", kind)
    compare(name, tmp_path / "folder", tmp_path / "model.gguf")


@pytest.mark.parametrize("name", SUPPORTED_THERE)
def test_equal_to_what_transformers_reads_from_the_same_file(name, tmp_path):
    gguf_cases.reference(name, 3, tmp_path / "folder")
    gguf_cases.write(name, tmp_path / "folder", tmp_path / "model.gguf", "q8_0")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf")
    ours = models.load(tmp_path / "model.gguf")
    tokens = torch.randint(96, (2, 10), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        assert relative(ours(tokens).logits, theirs.eval()(tokens).logits) <= 1e-5


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q6_K"])
def test_values_equal_the_packages_own(kind, tmp_path):
    stored = gguf.GGMLQuantizationType[kind]
    draw = np.random.default_rng(5)
    if kind == "Q6_K":  # the package cannot write it: any bytes are some values
        data = draw.integers(0, 256, (7, 210), dtype=np.uint8)
        data[:, 208:] = np.frombuffer(np.float16(0.03).tobytes(), np.uint8)
    else:
        data = gguf.quants.quantize(draw.normal(size=(7, 256)).astype(np.float32), stored)
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_tensor("x", data, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = GGUFFile(tmp_path / "x.gguf")
    assert file.tensors["x"].shape == (7, 256)
    assert np.array_equal(file.read("x"), gguf.quants.dequantize(data, stored))


def test_the_dtype_and_the_special_tokens(tmp_path):
    gguf_cases.reference("llama", 0, tmp_path / "folder")
    gguf_cases.write("llama", tmp_path / "folder", tmp_path / "model.gguf", "f16")
    model = models.load(tmp_path / "model.gguf", dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    config = model.config
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (1, 2, 0)
    assert config.norm_eps == 1e-5
    assert reader.tokenizer_metadata(tmp_path / "model.gguf")["tokenizer.ggml.tokens"][3] == "<3>"


def test_the_end_of_a_turn_ends_a_generation(tmp_path):
    gguf_cases.reference("llama 3", 0, tmp_path / "folder")
    gguf_cases.write("llama 3", tmp_path / "folder", tmp_path / "model.gguf", "f32")
    assert models.load(tmp_path / "model.gguf").config.eos_token_id == (2, 5)


def test_another_task(tmp_path):
    reference = gguf_cases.reference("bert", 0, tmp_path / "folder")
    gguf_cases.write("bert", tmp_path / "folder", tmp_path / "model.gguf", "f32")
    tokens = torch.randint(96, (2, 12), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        found = models.load(tmp_path / "model.gguf", task="embedding")(tokens).logits
        mean = reference(tokens).last_hidden_state.mean(dim=1)
    assert relative(found, torch.nn.functional.normalize(mean, dim=-1)) <= 1e-5
    classifier = models.load(tmp_path / "model.gguf", task="sequence_classification")
    assert classifier(tokens).logits.shape == (2, 2)


# --- Files that are not what they should be, built by hand.


def text(value):
    return struct.pack("<Q", len(value)) + value


def pair(key, kind, value):
    return text(key) + struct.pack("<I", kind) + value


ARCHITECTURE = pair(b"general.architecture", 8, text(b"llama"))


def tensor(name=b"x", dims=(32,), kind=0, offset=0):
    return (
        text(name)
        + struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
        + struct.pack("<IQ", kind, offset)
    )


def build(pairs=(ARCHITECTURE,), tensors=(), data=b"", version=3, counts=None, magic=b"GGUF"):
    counts = counts or (len(tensors), len(pairs))
    head = magic + struct.pack("<IQQ", version, *counts) + b"".join((*pairs, *tensors))
    return head + bytes(-len(head) % 32) + data


def refused(content, tmp_path):
    """The message; nothing large was allocated on the way to it."""
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(LmwrightError) as caught:
            models.load(path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert "model.gguf" in caught.value.what
    assert "\n" not in caught.value.what
    return str(caught.value)


HUGE = 2**62
DAMAGED = {
    "magic": (build(magic=b"GGML"), "does not begin with GGUF"),
    "empty": (b"", "does not begin with GGUF"),
    "version": (build(version=1), "of GGUF version 1"),
    "big-endian": (build(version=3 << 24), "big-endian"),
    "many tensors": (build(counts=(HUGE, 1)), f"announces {HUGE} tensors"),
    "many entries": (build(counts=(0, HUGE)), f"announces {HUGE} metadata entries"),
    "long key": (build(pairs=(struct.pack("<Q", HUGE) + b"x",)), f"announces {HUGE} bytes of"),
    "long text": (build(pairs=(pair(b"k", 8, struct.pack("<Q", HUGE)),)), "bytes of k"),
    "long list": (build(pairs=(pair(b"k", 9, struct.pack("<IQ", 4, HUGE)),)), "elements of k"),
    "list of texts": (build(pairs=(pair(b"k", 9, struct.pack("<IQ", 8, HUGE)),)), "elements of k"),
    "value type": (build(pairs=(pair(b"k", 77, b""),)), "k is of an unknown type 77"),
    "deep list": (
        build(pairs=(pair(b"k", 9, struct.pack("<IQ", 9, 1) * 9),)),
        "k is of an unknown type 9",
    ),
    "twice a key": (build(pairs=(ARCHITECTURE, ARCHITECTURE)), "gives general.architecture twice"),
    "dimensions": (build(tensors=(tensor(dims=(1,) * 9),)), "x has 9 dimensions"),
    "long tensor": (build(tensors=(tensor(dims=(HUGE, HUGE)),)), "the tensor x does not lie in it"),
    "cut data": (build(tensors=(tensor(),), data=bytes(100)), "the tensor x does not lie in it"),
    "far offset": (
        build(tensors=(tensor(offset=2**63),), data=bytes(128)),
        "the tensor x does not lie in it",
    ),
    "unaligned": (build(tensors=(tensor(offset=4),), data=bytes(256)), "does not lie in it"),
    "twice a tensor": (build(tensors=(tensor(), tensor()), data=bytes(128)), "the tensor x twice"),
    "alignment": (
        build(pairs=(pair(b"general.alignment", 4, struct.pack("<I", 3)),)),
        "general.alignment is 3",
    ),
    "broken blocks": (build(tensors=(tensor(dims=(33,), kind=8),)), "not whole blocks of 32"),
    "known type": (
        build(tensors=(tensor(dims=(256,), kind=12),), data=bytes(256)),
        "tensor x has type Q4_K; f32, f16, bf16, q8_0, q4_0, q6_K are read",
    ),
    "unknown type": (build(tensors=(tensor(kind=99),)), "tensor x has type number 99"),
    "architecture": (
        build(pairs=(pair(b"general.architecture", 8, text(b"mamba")),)),
        "general.architecture 'mamba' is not one we read",
    ),
    "no architecture": (build(pairs=()), "general.architecture None"),
    "part": (
        build(pairs=(ARCHITECTURE, pair(b"split.count", 2, struct.pack("<H", 3)))),
        "one of 3 parts",
    ),
    "no settings": (build(), "llama.embedding_length is missing"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_refused(name, tmp_path):
    content, message = DAMAGED[name]
    assert message in refused(content, tmp_path)


def test_every_truncation_is_one_clear_error(tmp_path):
    gguf_cases.reference("llama", 0, tmp_path / "folder")
    gguf_cases.write("llama", tmp_path / "folder", tmp_path / "whole.gguf", "q8_0")
    whole = (tmp_path / "whole.gguf").read_bytes()
    early = list(range(0, 4000, 97))
    for length in [*early, *range(4000, len(whole), len(whole) // 20), len(whole) - 1]:
        refused(whole[:length], tmp_path)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_changed_bytes_are_read_or_refused(tmp_path):
    gguf_cases.reference("llama 3", 0, tmp_path / "folder")
    gguf_cases.write("llama 3", tmp_path / "folder", tmp_path / "whole.gguf", "q8_0")
    whole = (tmp_path / "whole.gguf").read_bytes()
    draw = random.Random(0)
    outcomes = set()
    for _ in range(200):
        changed = bytearray(whole)
        for _ in range(draw.choice([1, 1, 3])):
            changed[draw.randrange(4, 6000)] = draw.choice([0, 1, 255, draw.randrange(256)])
        (tmp_path / "changed.gguf").write_bytes(changed)
        try:
            reader.read(tmp_path / "changed.gguf")
        except LmwrightError:
            outcomes.add("refused")
        else:
            outcomes.add("read")
    assert outcomes == {"read", "refused"}


def test_settings_that_our_blocks_lack_are_named(tmp_path):
    gguf_cases.reference("llama", 0, tmp_path / "folder")
    gguf_cases.write("llama", tmp_path / "folder", tmp_path / "whole.gguf", "f32")
    whole = (tmp_path / "whole.gguf").read_bytes()
    for name, kind, raw, message in [
        ("attention.clamp_kqv", 6, struct.pack("<f", 8.0), "clamp_kqv is not supported"),
        ("attention.sliding_window", 4, struct.pack("<I", 9), "sliding_window is not supported"),
        ("rope.scaling.type", 8, text(b"longrope"), "rope.scaling of type longrope"),
    ]:
        added = pair(f"llama.{name}".encode(), kind, raw)
        tensors, pairs = struct.unpack_from("<QQ", whole, 8)
        head = whole[:8] + struct.pack("<QQ", tensors, pairs + 1) + added
        # The data moves, and is not looked at before the settings.
        assert message in refused(head + whole[24:] + bytes(1000), tmp_path)
