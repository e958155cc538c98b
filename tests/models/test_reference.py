"""Logits, gradients and files against transformers' Qwen3."""

import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

from lmwright import models
from lmwright.models.layers import attention
from lmwright.models.layers.attention import AttentionRule
from tests.models.cases import fill, random_shape, relative

SEEDS = range(8)


def reference(seed, folder, dtype=torch.float32, **fixed):
    """A random Qwen3 of transformers, saved to `folder`."""
    shape = random_shape(seed, **fixed)
    shape["rms_norm_eps"] = shape.pop("norm_eps")
    for ours in ("model_type", "query_key_norm", "attention_output_bias"):
        shape.pop(ours)
    shape["rope_parameters"] = {"rope_type": "default", "rope_theta": shape.pop("rope_theta")}
    fill(Qwen3ForCausalLM(Qwen3Config(**shape)), seed).to(dtype).save_pretrained(folder)
    # Opened again: converting a model in memory rounds its rotary frequencies too.
    return Qwen3ForCausalLM.from_pretrained(folder, dtype=dtype).eval()


def random_tokens(model, seed, rows=3, length=13):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, model.config.vocab_size, (rows, length), generator=generator)


class ContiguousCache:
    """The smallest thing that honours the cache protocol: everything so far, concatenated."""

    def __init__(self):
        self.stored = {}

    def attend(self, layer, q, k, v, rule):
        if layer in self.stored:
            k = torch.cat((self.stored[layer][0], k), 2)
            v = torch.cat((self.stored[layer][1], v), 2)
        self.stored[layer] = (k, v)
        return attention.attend(q, k, v, rule)


@pytest.mark.parametrize("seed", SEEDS)
def test_logits_equal_the_reference(seed, tmp_path):
    expected = reference(seed, tmp_path)
    tokens = random_tokens(expected, seed)
    ours = models.load(tmp_path)

    with torch.no_grad():
        logits = expected(tokens).logits
        assert logits.square().mean().sqrt() >= 0.1
        assert relative(ours(tokens).logits, logits) <= 1e-5


@pytest.mark.parametrize("seed", SEEDS)
def test_bfloat16_logits_equal_the_reference(seed, tmp_path):
    expected = reference(seed, tmp_path, dtype=torch.bfloat16)
    tokens = random_tokens(expected, seed)
    ours = models.load(tmp_path)

    assert ours.norm.weight.dtype == torch.bfloat16
    with torch.no_grad():
        assert relative(ours(tokens).logits, expected(tokens).logits) <= 2e-2


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side(side, seed, tmp_path):
    expected = reference(seed, tmp_path)
    tokens = random_tokens(expected, seed)
    mask = torch.ones_like(tokens)
    for row, padding in enumerate((0, 4, 12)):
        if padding:
            mask[row, slice(None, padding) if side == "left" else slice(-padding, None)] = 0
    ours = models.load(tmp_path)

    with torch.no_grad():
        found = ours(tokens, attention_mask=mask).logits
        logits = expected(tokens, attention_mask=mask).logits
    assert found.isfinite().all()
    assert relative(found[mask.bool()], logits[mask.bool()]) <= 1e-5


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("blocks", [[1] * 13, [5, 1, 1, 4, 2]], ids=["steps", "uneven"])
def test_with_a_cache(blocks, seed, tmp_path):
    expected = reference(seed, tmp_path)
    tokens = random_tokens(expected, seed)
    ours, cache, found = models.load(tmp_path), ContiguousCache(), []

    with torch.no_grad():
        for block in blocks:
            start = sum(part.shape[1] for part in found)
            positions = torch.arange(start, start + block)[None]
            part = tokens[:, start : start + block]
            found.append(ours(part, position_ids=positions, cache=cache).logits)
        assert relative(torch.cat(found, 1), expected(tokens).logits) <= 1e-5


@pytest.mark.parametrize("seed", SEEDS)
def test_with_a_cache_and_left_padding(seed, tmp_path):
    expected = reference(seed, tmp_path)
    tokens = random_tokens(expected, seed)
    mask = torch.ones_like(tokens)
    mask[1, :3] = mask[2, :6] = 0
    ours, cache, found = models.load(tmp_path), ContiguousCache(), []

    with torch.no_grad():
        for start, stop in ((0, 7), (7, 8), (8, 13)):
            positions = torch.arange(start, stop)[None]
            part = tokens[:, start:stop]
            found.append(ours(part, mask[:, :stop], positions, cache).logits)
        logits = expected(tokens, attention_mask=mask).logits
    assert relative(torch.cat(found, 1)[mask.bool()], logits[mask.bool()]) <= 1e-5


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_sliding_windows(seed, tmp_path):
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    expected = reference(
        seed,
        tmp_path,
        num_hidden_layers=3,
        use_sliding_window=True,
        sliding_window=4,
        layer_types=kinds,
    )
    tokens = random_tokens(expected, seed)
    mask = torch.ones_like(tokens)
    mask[1, :3] = 0
    ours = models.load(tmp_path)

    with torch.no_grad():
        found = ours(tokens, attention_mask=mask).logits
        logits = expected(tokens, attention_mask=mask).logits
        assert relative(found[mask.bool()], logits[mask.bool()]) <= 1e-5
        assert relative(ours(tokens).logits, expected(tokens).logits) <= 1e-5


@pytest.mark.parametrize("seed", SEEDS)
def test_gradients_equal_the_reference(seed, tmp_path):
    expected = reference(seed, tmp_path)
    tokens = random_tokens(expected, seed)
    mask = torch.ones_like(tokens)
    mask[1, -4:] = mask[2, :5] = 0
    ours = models.load(tmp_path).train()

    for model in (ours, expected):
        logits = model(tokens, attention_mask=mask).logits[mask.bool()]
        logits.logsumexp(-1).square().mean().backward()

    published = dict(expected.named_parameters())
    for name, parameter in ours.named_parameters():
        other = published[name if name.startswith("lm_head") else f"model.{name}"]
        assert relative(parameter.grad, other.grad) <= 1e-4, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("seed", SEEDS[:4])
def test_round_trip_is_identical_to_the_bit(seed, dtype, tmp_path):
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    reference(seed, first, dtype=dtype)
    ours = models.load(first)

    models.save(ours, second)
    AutoModelForCausalLM.from_pretrained(second).save_pretrained(third)
    again = models.load(third)

    assert again.config == ours.config
    assert again.state_dict().keys() == ours.state_dict().keys()
    for name, weight in ours.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
        assert weight.dtype == dtype


def test_sharded_weights(tmp_path):
    expected = reference(1, tmp_path / "single")
    expected.save_pretrained(tmp_path / "shards", max_shard_size="10KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    tokens = random_tokens(expected, 1)

    one, many = models.load(tmp_path / "single"), models.load(tmp_path / "shards")

    assert torch.equal(one(tokens).logits, many(tokens).logits)


def test_older_config_files(tmp_path):
    """Written before transformers 5: rope_theta on top, windows by layer number."""
    expected = reference(2, tmp_path, rope_theta=50_000.0)
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    theta = values.pop("rope_parameters")["rope_theta"]
    del values["layer_types"]
    values |= {"rope_theta": theta, "rope_scaling": None, "sliding_window": 4096}
    path.write_text(json.dumps(values))
    tokens = random_tokens(expected, 2)

    ours = models.load(tmp_path)

    assert ours.config.rope_theta == 50_000.0
    assert ours.config.sliding_window is None
    assert relative(ours(tokens).logits, expected(tokens).logits) <= 1e-5


def test_a_tied_embedding_stored_twice(tmp_path):
    expected = reference(0, tmp_path, tie_word_embeddings=True)
    weights = {name: weight.clone() for name, weight in expected.state_dict().items()}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert "lm_head.weight" in weights
    tokens = random_tokens(expected, 0)

    assert relative(models.load(tmp_path)(tokens).logits, expected(tokens).logits) <= 1e-5


def test_generation_settings_are_what_transformers_reads(tmp_path):
    model = models.load(_saved(tmp_path / "parent"))
    models.save(model, tmp_path / "ends", eos_token_id=[7, 2])

    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "ends")

    assert opened.generation_config.eos_token_id == [7, 2]
    models.save(models.load(tmp_path / "ends"), tmp_path / "again")
    assert models.load(tmp_path / "again").config.eos_token_id == (7, 2)


def test_rule_mask_and_causality_hold_together():
    q = k = v = torch.randn(1, 1, 4, 2)
    mask = torch.tensor([True, True, False, True])[None, None, None]
    rule = AttentionRule(mask=mask)

    changed = v.clone()
    changed[:, :, 2] += 100  # masked for all
    changed[:, :, 3] += 100  # visible to the last only

    before, after = attention.attend(q, k, v, rule), attention.attend(q, k, changed, rule)
    assert torch.equal(before[:, :, :3], after[:, :, :3])
    assert not torch.equal(before[:, :, 3], after[:, :, 3])


def _saved(folder):
    reference(0, folder)
    return folder
