"""Folders of quantised weights: transformers opens them; its own are opened; others are refused."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from lmwright import compression, models
from lmwright.compression.commands import STEPS, QuantizeConfig
from lmwright.compression.linear import QuantizedLinear
from lmwright.compression.rounding import Grid
from lmwright.compression.steps import quantize as quantize_step
from lmwright.models.config import TransformerConfig
from lmwright.models.transformer import Decoder
from lmwright.pipeline.run import StepRun
from tests.compression.cases import GROUPED, parent, refused
from tests.models.cases import random_shape, relative

SEEDS = range(4)
GRIDS = [(8, None), (8, 32), (4, None), (4, 32), (4, 64)]
HALF_A_MILLION = {
    "vocab_size": 2048,
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "tie_word_embeddings": True,
    "attention_bias": False,
}


def folder_bytes(folder):
    return sum(file.stat().st_size for file in folder.iterdir())


def greedy(logits_of, tokens, count):
    """Ids that follow, and the smallest distance of the two best logits on the way."""
    closest = float("inf")
    for _ in range(count):
        best = logits_of(tokens)[:, -1].topk(2)
        closest = min(closest, (best.values[:, 0] - best.values[:, 1]).min().item())
        tokens = torch.cat([tokens, best.indices[:, :1]], dim=1)
    return tokens, closest


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("bits", "group_size"), GRIDS)
def test_transformers_opens_the_folder_with_equal_logits(seed, tied, bits, group_size, tmp_path):
    shape = {} if group_size is None else GROUPED
    model = parent(seed, tie_word_embeddings=tied, **shape)
    compression.save(compression.quantize(model, bits, group_size), tmp_path / "q")
    ours = compression.load(tmp_path / "q")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "q").eval()
    tokens = torch.randint(0, 50, (2, 12), generator=torch.Generator().manual_seed(seed))

    with torch.no_grad():
        expected = theirs(tokens).logits
        assert expected.square().mean().sqrt() >= 0.1
        assert relative(ours(tokens).logits, expected) <= 1e-5
        half = compression.load(tmp_path / "q", dtype=torch.bfloat16)
        assert relative(half(tokens).logits, expected) <= 0.3
    kinds = {(type(m), m.grid) for n, m in ours.named_modules() if n.endswith("_proj")}
    assert kinds == {(QuantizedLinear, Grid(bits, group_size))}


@pytest.mark.parametrize("seed", SEEDS)
@torch.no_grad()
def test_transformers_continues_a_text_alike_with_4_bits_in_groups(seed, tmp_path):
    model = parent(seed, max_position_embeddings=64, **GROUPED)
    compression.save(compression.quantize(model, 4, 32), tmp_path / "q", eos_token_id=[])
    ours = compression.load(tmp_path / "q")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "q").eval()
    tokens = torch.randint(0, 50, (1, 8), generator=torch.Generator().manual_seed(seed))

    expected, closest = greedy(lambda ids: theirs(ids).logits, tokens, 24)
    assert closest > 1e-4, "a tie: choose another seed"
    assert torch.equal(greedy(lambda ids: ours(ids).logits, tokens, 24)[0], expected)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("bits", "group_size"), GRIDS)
def test_saved_and_loaded_again_is_the_same(seed, bits, group_size, tmp_path):
    shape = {} if group_size is None else GROUPED
    first = compression.quantize(parent(seed, **shape), bits, group_size)
    compression.save(first, tmp_path / "one")
    loaded = compression.load(tmp_path / "one")
    compression.save(compression.quantize(loaded, bits, group_size), tmp_path / "two")
    again = compression.load(tmp_path / "two")

    assert loaded.config == first.config
    for name, weight in loaded.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
        if not name.startswith(("embed_tokens", "lm_head")):
            assert torch.equal(weight, first.state_dict()[name]), name
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


@torch.no_grad()
def test_layers_that_are_rounded_in_several_ways(tmp_path):
    model = compression.quantize(parent(0, tie_word_embeddings=False, **GROUPED), 4, 32)
    layer = model.layers[0].mlp
    wide = parent(0, tie_word_embeddings=False, **GROUPED)
    layer.up_proj = QuantizedLinear.from_linear(wide.layers[0].mlp.up_proj)
    layer.down_proj = QuantizedLinear.from_linear(wide.layers[0].mlp.down_proj, group_size=64)
    model.lm_head = QuantizedLinear.from_linear(wide.lm_head, bits=8, group_size=32)
    compression.save(model, tmp_path / "q")

    again = compression.load(tmp_path / "q")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "q").eval()
    tokens = torch.arange(12)[None]
    assert again.lm_head.grid == Grid(8, 32)
    assert again.layers[0].mlp.down_proj.grid == Grid(8, 64)
    assert relative(again(tokens).logits, theirs(tokens).logits) <= 1e-5


@pytest.mark.parametrize("strategy", ["channel", "group"])
@pytest.mark.parametrize("bits", [8, 4])
@torch.no_grad()
def test_folders_that_compressed_tensors_wrote(bits, strategy, tmp_path):
    write_with_compressed_tensors(tmp_path, bits, strategy)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "q").eval()
    ours = compression.load(tmp_path / "q")
    tokens = torch.arange(12)[None]
    expected = theirs(tokens).logits
    assert relative(ours(tokens).logits, expected) <= 1e-5
    assert ours.layers[0].mlp.up_proj.bits == bits
    assert ours.layers[0].mlp.up_proj.group_size == (32 if strategy == "group" else None)
    assert ours.layers[0].self_attn.o_proj.weight.min() == -(2 ** (bits - 1))


def test_folders_that_compressed_tensors_wrote_with_zero_points_are_refused(tmp_path):
    write_with_compressed_tensors(tmp_path, 4, "group", symmetric=False)
    assert "asymmetric" in refused(compression.load, tmp_path / "q")


def write_with_compressed_tensors(folder, bits, strategy, symmetric=True):
    """A transformers model, quantised and saved by that package."""
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
    from compressed_tensors.quantization.utils import calculate_qparams

    models.save(parent(3, tie_word_embeddings=False, **GROUPED), folder / "whole")
    model = AutoModelForCausalLM.from_pretrained(folder / "whole").eval()
    weights = {
        "num_bits": bits,
        "type": "int",
        "symmetric": symmetric,
        "strategy": strategy,
        "group_size": 32 if strategy == "group" else None,
    }
    config = {"config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}
    config |= {"ignore": ["lm_head"], "format": "pack-quantized"}
    apply_quantization_config(model, QuantizationConfig(**config))
    for module in model.modules():
        if (way := getattr(module, "quantization_scheme", None)) is None:
            continue
        groups = module.weight.reshape(len(module.weight), module.weight_scale.shape[1], -1)
        low, high = groups.amin(2), groups.amax(2)
        # Its own rule leaves -2^(bits - 1) out of use; ours must read the whole range.
        scale, zero = calculate_qparams(low, high, way.weights)
        module.weight_scale.data.copy_(scale * 0.93)
        if hasattr(module, "weight_zero_point"):
            module.weight_zero_point.data.copy_(zero)
        module.quantization_status = "frozen"
    compressor = ModelCompressor.from_pretrained_model(model, "pack-quantized")
    compressor.compress_model(model)
    model.save_pretrained(folder / "q")
    compressor.update_config(folder / "q")


def test_the_parent_is_left_alone():
    model = parent(0)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    compression.quantize(model)
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("bits", "group_size", "expected"),
    [(8, None, 8 + 32 / 256), (8, 64, 8 + 16 / 64), (4, 32, 4 + 16 / 32), (4, 64, 4 + 16 / 64)],
)
def test_bits_of_a_weight_on_disk(bits, group_size, expected, tmp_path):
    model = Decoder(TransformerConfig(**random_shape(0, **HALF_A_MILLION)))
    compression.save(compression.quantize(model, bits, group_size), tmp_path / "q")
    compression.save(compression.quantize(model, 8), tmp_path / "other")
    weights = sum(
        module.weight.numel()
        for name, module in model.named_modules()
        if name.startswith("layers.") and isinstance(module, torch.nn.Linear)
    )
    # What is not a weight of a layer is the same in both, but for the settings in config.json.
    rest = folder_bytes(tmp_path / "other") * 8 - (8 + 32 / 256) * weights
    found = (folder_bytes(tmp_path / "q") * 8 - rest) / weights
    assert found == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(("bits", "group_size", "most"), [(8, None, 0.30), (4, 64, 0.22)])
def test_the_step_says_how_much_a_small_model_shrinks(bits, group_size, most, tmp_path):
    shape = random_shape(0, **HALF_A_MILLION)
    model = Decoder(TransformerConfig(**shape))
    models.save(model, tmp_path / "model")
    run = StepRun.standalone(tmp_path / "run")

    quantize_step(QuantizeConfig(bits=bits, group_size=group_size), run, model=tmp_path / "model")

    ratio = folder_bytes(run.output) / folder_bytes(tmp_path / "model")
    assert ratio < most
    assert run.record.summary[f"int{bits}_size_ratio"] == pytest.approx(ratio, abs=1e-3)
    assert 0.0 < run.record.summary[f"int{bits}_weight_error"] < (0.02 if bits == 8 else 0.12)


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


def test_models_load_says_where_quantised_folders_open(tmp_path):
    compression.save(compression.quantize(parent(0)), tmp_path / "q")
    assert "compression.load" in refused(models.load, tmp_path / "q")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quant_method": "gptq"}, "not compressed-tensors"),
        ({"format": "marlin-24"}, "marlin-24"),
        ({"config_groups": {}}, "no config_groups"),
        ({"config_groups": {"group_0": {"targets": ["Linear"]}}}, "no weights"),
        ({"kv_cache_scheme": {"num_bits": 8}}, "cached keys"),
        ({"weights": {"num_bits": 3}}, "3 bits by channel"),
        ({"weights": {"type": "float"}}, "8 bits by channel"),
        ({"weights": {"strategy": "tensor"}}, "by tensor"),
        ({"weights": {"strategy": "group", "group_size": 96}}, "by group of 96"),
        ({"weights": {"symmetric": False}}, "asymmetric"),
        ({"weights": {"num_bits": 4}}, "int4 by row"),
        ({"weights": {"strategy": "group", "group_size": 32}}, "int8 by groups of 32"),
        ({"input_activations": {"num_bits": 8}}, "rounded activations"),
    ],
)
def test_other_quantisations_are_refused(change, message, tmp_path):
    compression.save(compression.quantize(parent(0, **GROUPED)), tmp_path / "q")
    path = tmp_path / "q" / "config.json"
    values = json.loads(path.read_text())
    group = values["quantization_config"]["config_groups"]["group_0"]
    if "weights" in change:
        group["weights"] |= change["weights"]
    elif "input_activations" in change:
        group |= change
    else:
        values["quantization_config"] |= change
    path.write_text(json.dumps(values))
    assert message in refused(compression.load, tmp_path / "q")


def test_other_bits_and_groups_are_refused():
    assert "3 bits" in refused(compression.quantize, parent(0), 3)
    assert "groups of 16" in refused(compression.quantize, parent(0), 8, 16)
    model = parent(0, **GROUPED)
    said = refused(compression.quantize, model, 8, 128)
    assert "layers.0.self_attn.q_proj: rows of 64 weights" in said
    assert "group_size=32 or 64" in said


def test_the_step_is_declared_as_recipes_name_it():
    (step,) = STEPS
    assert step.name == "compression.quantize"
    assert dict(step.inputs) == {"model": "model"}
    assert step.output == "model"
