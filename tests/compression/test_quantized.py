"""int8 weights: error bounds, files that transformers opens, and what is refused."""

import json

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from lmwright import compression, models
from lmwright.compression.commands import STEPS, QuantizeConfig
from lmwright.compression.linear import QuantizedLinear, quantize_rows
from lmwright.compression.steps import quantize as quantize_step
from lmwright.compression.weights import pack, unpack
from lmwright.core.errors import LmwrightError
from lmwright.models.config import TransformerConfig
from lmwright.models.transformer import Decoder
from lmwright.pipeline.run import StepRun
from tests.models.cases import fill, random_shape, relative

SEEDS = range(4)


def parent(seed, **fixed):
    return fill(Decoder(TransformerConfig(**random_shape(seed, **fixed))), seed).eval()


def folder_bytes(folder):
    return sum(file.stat().st_size for file in folder.iterdir())


def random_weight(seed):
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.randint(1, 60, (2,), generator=generator).tolist()
    spread = torch.rand(rows, 1, generator=generator).mul(8).sub(6).exp()
    return torch.randn(rows, columns, generator=generator) * spread


@pytest.mark.parametrize("seed", range(60))
def test_error_is_at_most_half_a_step(seed):
    weight = random_weight(seed)
    values, scale = quantize_rows(weight)

    error = (values.double() * scale.double() - weight.double()).abs()
    # Dividing in float32 may put a value that is halfway on the other side: 127 roundings of 2^-24.
    assert (error <= scale.double() / 2 * (1 + 2e-5)).all()
    assert values.min() >= -127
    assert (values.abs().amax(1) == 127).all()


@pytest.mark.parametrize("seed", range(60))
def test_quantising_again_changes_nothing(seed):
    values, scale = quantize_rows(random_weight(seed))
    again, scale_again = quantize_rows(values * scale)
    assert torch.equal(values, again)
    assert torch.allclose(scale, scale_again, rtol=1e-6, atol=0)


def test_edges():
    weight = torch.tensor([[0.0, 0.0], [1e-30, -1e-30], [3.0, -1e-9], [-1e30, 1e30]])
    values, scale = quantize_rows(weight)
    assert values.tolist() == [[0, 0], [127, -127], [127, 0], [-127, 127]]
    assert scale.isfinite().all()
    assert (scale > 0).all()
    assert quantize_rows(weight.bfloat16())[1].dtype == torch.float32


@pytest.mark.parametrize("columns", [1, 3, 4, 5, 64])
def test_packing_is_that_of_compressed_tensors(columns):
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

    generator = torch.Generator().manual_seed(columns)
    values = torch.randint(-127, 128, (7, columns), generator=generator, dtype=torch.int8)
    words = pack(values)
    assert torch.equal(unpack(words, columns), values)
    if columns % 4 == 0:  # the bytes that fill up the last word are nobody's business
        assert torch.equal(words, pack_to_int32(values, 8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_every_way_of_multiplying_is_the_expanded_product(rows, bias, dtype, monkeypatch):
    torch.manual_seed(rows)
    linear = nn.Linear(32, 48, bias=bias)
    layer = QuantizedLinear.from_linear(linear).to(dtype)
    layer.weight_scale = quantize_rows(linear.weight)[1]
    x = torch.randn(2, rows, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = nn.functional.linear(x, layer.expanded(), linear.bias)
        found = layer(x.to(dtype))
        assert found.dtype == dtype
        assert relative(found, expected) <= (1e-5 if dtype == torch.float32 else 3e-2)
        monkeypatch.setattr("lmwright.compression.linear._HELD_VALUES", 0)
        assert relative(layer(x.to(dtype)), expected) <= (1e-5 if dtype == torch.float32 else 3e-2)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("tied", [True, False])
def test_transformers_opens_the_folder_with_equal_logits(seed, tied, tmp_path):
    compression.save(compression.quantize(parent(seed, tie_word_embeddings=tied)), tmp_path / "q")
    ours = compression.load(tmp_path / "q")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "q").eval()
    tokens = torch.randint(0, 50, (2, 12), generator=torch.Generator().manual_seed(seed))

    with torch.no_grad():
        expected = theirs(tokens).logits
        assert expected.square().mean().sqrt() >= 0.1
        assert relative(ours(tokens).logits, expected) <= 1e-5
        half = compression.load(tmp_path / "q", dtype=torch.bfloat16)
        assert relative(half(tokens).logits, expected) <= 0.3
    kinds = {type(m) for n, m in ours.named_modules() if n.endswith("_proj")}
    assert kinds == {QuantizedLinear}


@pytest.mark.parametrize("seed", SEEDS)
def test_saved_and_loaded_again_is_the_same(seed, tmp_path):
    first = compression.quantize(parent(seed))
    compression.save(first, tmp_path / "one")
    loaded = compression.load(tmp_path / "one")
    compression.save(compression.quantize(loaded), tmp_path / "two")
    again = compression.load(tmp_path / "two")

    assert loaded.config == first.config
    for name, weight in loaded.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
        if not name.startswith(("embed_tokens", "lm_head")):
            assert torch.equal(weight, first.state_dict()[name]), name
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_the_parent_is_left_alone():
    model = parent(0)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    compression.quantize(model)
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_small_model_shrinks_below_035(tmp_path):
    shape = random_shape(
        0,
        vocab_size=2048,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        tie_word_embeddings=True,
        attention_bias=False,
    )
    model = Decoder(TransformerConfig(**shape))
    models.save(model, tmp_path / "model")
    run = StepRun.standalone(tmp_path / "run")

    quantize_step(QuantizeConfig(), run, model=tmp_path / "model")

    ratio = folder_bytes(run.output) / folder_bytes(tmp_path / "model")
    assert ratio < 0.30
    assert run.record.summary["int8_size_ratio"] == pytest.approx(ratio, abs=1e-3)
    assert 0.0 < run.record.summary["int8_weight_error"] < 0.02


def test_the_step_takes_tokenizer_and_end_tokens_along(tmp_path):
    folder = tmp_path / "model"
    models.save(parent(0), folder, eos_token_id=[5, 6])
    (folder / "tokenizer.json").write_text("{}")
    run = StepRun.standalone(tmp_path / "run")

    quantize_step(QuantizeConfig(), run, model=folder)

    assert (run.output / "tokenizer.json").read_text() == "{}"
    generation = json.loads((run.output / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [5, 6]


def test_plain_folders_open_too(tmp_path):
    model = parent(1)
    models.save(model, tmp_path / "model")
    opened = compression.load(tmp_path / "model")
    tokens = torch.arange(9)[None]
    assert torch.equal(opened(tokens).logits, model(tokens).logits)


def refused(function, *arguments):
    with pytest.raises(LmwrightError) as caught:
        function(*arguments)
    assert "\n" not in caught.value.what
    return str(caught.value)


def test_models_load_says_where_quantised_folders_open(tmp_path):
    compression.save(compression.quantize(parent(0)), tmp_path / "q")
    assert "compression.load" in refused(models.load, tmp_path / "q")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quant_method": "gptq"}, "not compressed-tensors"),
        ({"format": "marlin-24"}, "marlin-24"),
        ({"bits": 4}, "4 bits by channel"),
    ],
)
def test_other_quantisations_are_refused(change, message, tmp_path):
    compression.save(compression.quantize(parent(0)), tmp_path / "q")
    path = tmp_path / "q" / "config.json"
    values = json.loads(path.read_text())
    if "bits" in change:
        group = values["quantization_config"]["config_groups"]["group_0"]
        group["weights"]["num_bits"] = change["bits"]
    else:
        values["quantization_config"] |= change
    path.write_text(json.dumps(values))
    assert message in refused(compression.load, tmp_path / "q")


def test_other_bits_are_refused():
    assert "3 bits" in refused(compression.quantize, parent(0), 3)


def test_the_step_is_declared_as_recipes_name_it():
    (step,) = STEPS
    assert step.name == "compression.quantize"
    assert dict(step.inputs) == {"model": "model"}
    assert step.output == "model"
