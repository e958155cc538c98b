"""GGUF files whose integers stay what they are: exact, family by family."""

import gguf
import pytest
import torch

from lmwright import compression, models
from lmwright.compression.linear import QuantizedLinear
from lmwright.compression.rounding import Grid
from tests.compression.cases import refused
from tests.models import gguf_cases
from tests.models.cases import relative

DECODERS = [name for name in gguf_cases.CASES if name != "bert"]
KINDS = {"q8_0": Grid(8, 32), "q4_0": Grid(4, 32)}


def written(name, kind, folder):
    """A random model's GGUF file; its weights as floats are in the folder beside."""
    gguf_cases.reference(name, 0, folder / "whole")
    gguf_cases.write(name, folder / "whole", folder / "model.gguf", kind)
    return folder / "model.gguf"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DECODERS)
@torch.no_grad()
def test_kept_integers_are_the_values_of_the_file(name, kind, tmp_path):
    file = written(name, kind, tmp_path)
    kept = compression.load(file, keep_quantized=True)
    floats = models.load(tmp_path / "whole").state_dict()  # what the package gguf dequantised
    layers = {n: m for n, m in kept.named_modules() if isinstance(m, QuantizedLinear)}

    for path, layer in layers.items():
        assert layer.grid == KINDS[kind]
        assert torch.equal(layer.expanded(), floats[f"{path}.weight"]), path
    others = kept.state_dict().keys() - {
        f"{path}.{part}" for path in layers for part in ("weight", "weight_scale")
    }
    for path in others:
        assert torch.equal(kept.state_dict()[path], floats[path]), path
    linear = {
        n
        for n, m in models.load(tmp_path / "whole").named_modules()
        if isinstance(m, torch.nn.Linear) and not n.endswith("router") and m.in_features % 32 == 0
    }
    assert layers.keys() == linear
    tokens = torch.arange(12)[None]
    assert relative(kept(tokens).logits, compression.load(file)(tokens).logits) <= 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_integers_and_scales_are_those_of_the_blocks(kind, tmp_path):
    file = written("qwen3", kind, tmp_path)
    layer = compression.load(file, keep_quantized=True).layers[1].mlp.down_proj
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    data = torch.from_numpy(tensors["blk.1.ffn_down.weight"].data.copy())
    blocks = data.view(*layer.weight_scale.shape, -1)
    assert torch.equal(
        blocks[:, :, :2].contiguous().view(torch.float16)[:, :, 0].float(), layer.weight_scale
    )
    if kind == "q8_0":
        assert torch.equal(blocks[:, :, 2:].contiguous().view(torch.int8).flatten(1), layer.weight)
    else:
        low = (blocks[:, :, 2:] & 15).to(torch.int8) - 8
        assert torch.equal(low, layer.weight.view(*layer.weight_scale.shape, 32)[:, :, :16])


@torch.no_grad()
def test_kept_models_are_saved_as_folders(tmp_path):
    file = written("llama", "q4_0", tmp_path)
    kept = compression.load(file, keep_quantized=True)
    assert isinstance(kept.lm_head, QuantizedLinear)
    compression.save(kept, tmp_path / "folder")
    again = compression.load(tmp_path / "folder")
    for path, weight in again.state_dict().items():
        if path != "embed_tokens.weight":
            assert torch.equal(weight, kept.state_dict()[path]), path


@torch.no_grad()
def test_a_folder_with_one_file_is_that_file(tmp_path):
    file = written("llama", "q8_0", tmp_path)
    (tmp_path / "alone").mkdir()
    file.rename(tmp_path / "alone" / "model.gguf")
    tokens = torch.arange(12)[None]
    floats = compression.load(tmp_path / "alone")
    kept = compression.load(tmp_path / "alone", keep_quantized=True)
    assert not any(isinstance(m, QuantizedLinear) for m in floats.modules())
    assert isinstance(kept.layers[0].mlp.up_proj, QuantizedLinear)
    assert relative(kept(tokens).logits, floats(tokens).logits) <= 1e-5
    half = compression.load(tmp_path / "alone", keep_quantized=True, dtype=torch.bfloat16)
    assert half.norm.weight.dtype == torch.bfloat16
    assert half.layers[0].mlp.up_proj.weight_scale.dtype == torch.float32

    (tmp_path / "alone" / "second.gguf").write_bytes(b"GGUF")
    assert "2 GGUF files" in refused(compression.load, tmp_path / "alone")


@torch.no_grad()
def test_types_that_are_no_integers_become_floats(tmp_path):
    file = written("llama", "f16", tmp_path)
    kept = compression.load(file, keep_quantized=True)
    assert not any(isinstance(m, QuantizedLinear) for m in kept.modules())


def test_encoders_are_refused(tmp_path):
    assert "does not continue text" in refused(compression.load, written("bert", "q8_0", tmp_path))
    (tmp_path / "kept").mkdir()
    file = written("bert", "q8_0", tmp_path / "kept")
    assert "does not continue text" in refused(compression.load, file, keep_quantized=True)


def test_damaged_files_are_refused(tmp_path):
    file = written("llama", "q8_0", tmp_path)
    file.write_bytes(file.read_bytes()[:-1000])
    assert "truncated" in refused(compression.load, file, keep_quantized=True)
