"""Every decoder family against transformers: logits, caches, text, gradients."""

import copy

import pytest
import torch
from safetensors.torch import load_file

from lmwright import models
from lmwright.engine.growing import GrowingCache
from lmwright.engine.params import SamplingParams
from lmwright.models.assembly import published_weights
from tests.engine.generations import answers, generation
from tests.models.cases import relative
from tests.models.family_cases import (
    DECODERS,
    ROTARY,
    WINDOW,
    assert_close,
    case,
    generation_positions,
    hf_config,
    padded_mask,
    publish,
    scaled,
    tokens,
)

FAST, ALL = range(2), range(12)
# Norms, positions and feed-forward layers of every kind.
OF_EACH_KIND = (
    "gpt2",
    "gpt_neox",
    "bloom",
    "llama",
    "qwen2",
    "gemma2",
    "gemma3_text",
    "mixtral",
    "qwen3_moe",
)
TIE = 1e-4  # the reference's two best logits closer than this: either may be taken


def each(*, families=DECODERS, fast=FAST):
    """Parametrize by family and seed; most seeds are for the slow run."""
    return pytest.mark.parametrize(
        ("family", "seed"),
        [
            pytest.param(family, seed, marks=[] if seed in fast else pytest.mark.slow)
            for family in families
            for seed in ALL
        ],
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("families")


@each()
def test_logits_equal_the_reference(family, seed, root):
    given = case(family, seed, root)
    assert_close(given.found(), given.expected(), 1e-5)


@each()
def test_bfloat16_logits_equal_the_reference(family, seed, root):
    given = case(family, seed, root, torch.bfloat16)
    assert given.ours.norm.weight.dtype == torch.bfloat16
    assert_close(given.found(), given.expected(), 2e-2)


@pytest.mark.parametrize("side", ["left", "right"])
@each()
def test_padding_on_either_side(family, seed, side, root):
    given = case(family, seed, root)
    mask = padded_mask(given.tokens, side)
    found, expected = given.found(attention_mask=mask), given.expected(attention_mask=mask)
    assert found.isfinite().all()
    assert_close(found[mask.bool()], expected[mask.bool()], 1e-5)


@pytest.mark.parametrize("blocks", [[1] * 13, [5, 1, 1, 4, 2]], ids=["steps", "uneven"])
@each()
def test_with_a_cache_and_left_padding(family, seed, blocks, root):
    given = case(family, seed, root)
    mask = padded_mask(given.tokens, "left", (0, 3, 6))
    positions = generation_positions(mask)
    cache, parts, start = GrowingCache(), [], 0

    with torch.no_grad():
        for block in blocks:
            stop = start + block
            now = slice(start, stop)
            parts.append(
                given.ours(given.tokens[:, now], mask[:, :stop], positions[:, now], cache).logits
            )
            start = stop
    found = torch.cat(parts, 1)[mask.bool()]

    # One token at a time and all at once are summed in different orders, on either side: 1.1e-5
    # apart on one processor (a Xeon's library of products), where whole passes stay below 1e-5.
    inputs = {"attention_mask": mask} | ({} if family == "bloom" else {"position_ids": positions})
    assert_close(found, given.expected(**inputs)[mask.bool()], 2e-5)
    whole = given.found(attention_mask=mask, position_ids=positions)
    assert_close(found, whole[mask.bool()], 2e-5)


@each()
def test_a_batch_of_prompts_continues_as_with_generate(family, seed, root):
    given = case(family, seed, root)
    lengths, new = (12, 1, 7), 16
    width = max(lengths)
    prompts = [row[:length].tolist() for row, length in zip(given.tokens, lengths, strict=True)]
    padded = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
    mask = padded_mask(padded, "left", [width - n for n in lengths])
    out = given.reference.generate(
        padded,
        attention_mask=mask,
        do_sample=False,
        max_new_tokens=new,
        eos_token_id=None,
        pad_token_id=0,
        output_logits=True,
        return_dict_in_generate=True,
    )

    found = answers(generation(given.ours), prompts, SamplingParams(max_tokens=new))

    expected = out.sequences[:, width:]
    best = torch.stack([step.topk(2).values for step in out.logits], 1).float()  # (B, new, 2)
    ties = (best[..., 0] - best[..., 1] < TIE).cumsum(1) > 0
    assert (ties | (torch.tensor(found) == expected)).all()
    assert ties.float().mean() < 0.5  # or the test says little


@pytest.mark.parametrize("kind", ["linear", "dynamic", "yarn", "llama3"])
@each(families=ROTARY, fast=[0])
def test_past_the_window_with_scaled_rotary_positions(family, seed, kind, tmp_path):
    import random

    settings = scaled(random.Random(seed), [kind]) | {"rope_theta": 1e4}
    if family == "gemma3_text":
        if kind == "dynamic":
            pytest.skip("the reference's own cached frequencies are those of one kind of layer")
        settings = {
            "full_attention": settings,
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e3},
        }
    elif family == "gpt_neox":
        settings["partial_rotary_factor"] = 0.5
    config = hf_config(family, seed, rope_parameters=settings)
    expected = publish(config, seed, tmp_path)
    ours = models.load(tmp_path)
    text = tokens(config, seed, rows=2, length=4 * WINDOW)

    with torch.no_grad():
        assert_close(ours(text).logits, expected(text).logits, 1e-5)


@pytest.mark.parametrize(
    ("family", "seed"),
    [
        pytest.param(family, seed, marks=[] if seed == 0 else pytest.mark.slow)
        for family in OF_EACH_KIND
        for seed in range(6)
    ],
)
def test_gradients_equal_the_reference(family, seed, tmp_path):
    expected = publish(hf_config(family, seed), seed, tmp_path / "weights")
    ours = models.load(tmp_path / "weights")
    text = tokens(expected.config, seed)
    mask = padded_mask(text, "right", (0, 4, 2))

    for model in (ours, expected):
        logits = model(text, attention_mask=mask).logits[mask.bool()]
        logits.logsumexp(-1).square().mean().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(parameter.grad)  # so that they are written as weights are

    expected.save_pretrained(tmp_path / "gradients")
    published = load_file(tmp_path / "gradients" / "model.safetensors")
    found = published_weights(ours)
    assert found.keys() == published.keys()
    largest = max(gradient.abs().max() for gradient in published.values())
    for name, gradient in published.items():
        if gradient.abs().max() <= 1e-6 * largest:
            # Nothing but rounding: experts without a token, a router whose only choice weighs 1.
            assert found[name].abs().max() <= 1e-6 * largest, name
        else:
            assert relative(found[name], gradient) <= 1e-4, name


def test_models_are_not_changed_by_these_tests(root):
    given = case("llama", 0, root)
    again = copy.deepcopy(models.load(given.folder).state_dict())
    assert all(torch.equal(weight, again[n]) for n, weight in given.ours.state_dict().items())
