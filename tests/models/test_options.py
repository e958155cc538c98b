"""Any combination of options that a config allows: nobody sees the future, padding or a neighbour.

What a layer computes is tested elsewhere, against references; here, that what it may see holds
however options are combined.
"""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmwright.core.errors import LmwrightError
from lmwright.engine.growing import GrowingCache
from lmwright.models.build import build
from lmwright.models.config import TransformerConfig
from tests.models.cases import relative

LENGTH, ROUNDING = 9, 1e-4

FAST = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
MANY = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def configs(draw, architecture="decoder"):
    """A tiny model; every option that the config has is drawn, but for dropout and sizes."""
    layers = draw(st.integers(1, 3))
    groups, heads = draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 2, 3]))
    head_dim = draw(st.sampled_from([4, 8]))
    placement = draw(st.sampled_from(["pre", "post", "both"]))
    kinds = st.sampled_from(["full_attention", "sliding_attention"])
    maybe = st.booleans()
    shape = {
        "model_type": "lmwright",
        "architecture": architecture,
        "vocab_size": 23,
        "hidden_size": draw(st.sampled_from([12, 16])),
        "intermediate_size": draw(st.sampled_from([12, 20])),
        "num_hidden_layers": layers,
        "num_attention_heads": heads * groups,
        "num_key_value_heads": heads,
        "head_dim": head_dim,
        "max_position_embeddings": draw(st.sampled_from([LENGTH, 32])),
        "norm": draw(st.sampled_from(["rms_norm", "layer_norm"])),
        "norm_bias": draw(maybe),
        "norm_plus_one": draw(maybe),
        "norm_placement": placement,
        "first_norm": draw(maybe),
        "final_norm": draw(maybe),
        "embedding_norm": draw(maybe),
        "parallel_residual": placement == "pre" and draw(maybe),
        "attention_bias": draw(maybe),
        "attention_output_bias": draw(maybe),
        "query_key_norm": draw(maybe),
        "attention_scale": draw(st.sampled_from([None, 0.3])),
        "attention_soft_cap": draw(st.sampled_from([None, 2.0])),
        "sliding_window": draw(st.integers(1, LENGTH)),
        "layer_types": tuple(draw(kinds) for _ in range(layers)),
        "activation": draw(
            st.sampled_from(
                ["silu", "gelu", "gelu_tanh", "gelu_new", "gelu_bloom", "relu", "relu2", "tanh"]
            )
        ),
        "gated": draw(maybe),
        "feed_forward_bias": draw(maybe),
        "embedding_scale": draw(st.sampled_from([1.0, 4.0])),
        "token_type_vocab_size": draw(st.sampled_from([0, 2])),
        "tie_word_embeddings": draw(maybe),
        "output_bias": draw(maybe),
        "output_scale": draw(st.sampled_from([1.0, 0.5])),
        "final_logit_soft_cap": draw(st.sampled_from([None, 3.0])),
    }
    shape |= draw(position_options(head_dim))
    if draw(maybe):
        shape["experts"] = draw(expert_options(layers))
    return TransformerConfig.model_validate(shape)


@st.composite
def position_options(draw, head_dim):
    kind = draw(st.sampled_from(["rotary", "learned", "sinusoidal", "alibi", "relative", "none"]))
    if kind in ("learned", "sinusoidal"):
        return {"positions": kind, "position_offset": draw(st.sampled_from([0, 2]))}
    if kind == "relative":
        return {"positions": kind, "relative_buckets": 8, "relative_max_distance": 6}
    if kind != "rotary":
        return {"positions": kind}
    # The base of `dynamic` depends on the longest sequence at hand, which is what it is for.
    scaled = st.fixed_dictionaries(
        {"kind": st.sampled_from(["linear", "yarn", "llama3"]), "factor": st.just(2.0)}
    )
    return {
        "positions": kind,
        "rope_theta": draw(st.sampled_from([100.0, 1e4])),
        "rope_local_theta": draw(st.sampled_from([None, 50.0])),
        "rotary_dim": draw(st.sampled_from([None, head_dim // 2])),
        "rotary_in_float32": draw(st.booleans()),
        "rope_scaling": draw(st.none() | scaled),
    }


@st.composite
def expert_options(draw, layers):
    number = draw(st.integers(2, 4))
    shared = draw(st.sampled_from([None, 10]))
    return {
        "num_experts": number,
        "num_experts_per_tok": draw(st.integers(1, number)),
        "intermediate_size": 10,
        "normalize_weights": draw(st.booleans()),
        "rounded_weights": draw(st.booleans()),
        "shared_intermediate_size": shared,
        "shared_gate": shared is not None and draw(st.booleans()),
        "layers": tuple(i for i in range(layers) if draw(st.booleans())) or (0,),
    }


def model_of(config, seed):
    model = build(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            std = 0.3 if parameter.ndim == 1 else parameter.shape[-1] ** -0.5
            centre = float(parameter.ndim == 1)
            parameter.normal_(0.0, std, generator=generator).add_(centre)
    return model


def text_for(config, seed, rows=2, length=LENGTH):
    generator = torch.Generator().manual_seed(seed + 1)
    return torch.randint(0, config.vocab_size, (rows, length), generator=generator)


def states(model, text, *args, **kwargs):
    with torch.no_grad():
        if model.config.architecture == "decoder":
            return model(text, *args, **kwargs).logits
        return model.hidden_states(text, *args, **kwargs)


def nobody_sees_the_future(config, seed, place):
    """Tokens after `place` change nothing up to it: to the bit, mixtures of experts aside, whose
    products are of other sizes when tokens go elsewhere."""
    model, text = model_of(config, seed), text_for(config, seed)
    changed = text.clone()
    changed[:, place:] = (changed[:, place:] + 1) % config.vocab_size
    before, after = (states(model, t)[:, :place] for t in (text, changed))
    if config.experts is None:
        assert torch.equal(before, after)
    else:
        assert place == 0 or relative(after, before) <= ROUNDING
    assert not torch.equal(states(model, text)[:, place:], states(model, changed)[:, place:])


def padding_is_not_seen(config, seed, amount, side):
    """A row gives the same with padding on either side, whatever the padding holds."""
    model, text = model_of(config, seed), text_for(config, seed)
    real = text[:, : LENGTH - amount]
    alone = states(model, real)
    rest = text[:, LENGTH - amount :]
    padded = torch.cat((rest, real) if side == "left" else (real, rest), dim=1)
    mask = torch.ones_like(padded)
    hidden = slice(None, amount) if side == "left" else slice(LENGTH - amount, None)
    mask[:, hidden] = 0
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    found = states(model, padded, mask, positions)[mask.bool()].view_as(alone)
    assert relative(found, alone) <= ROUNDING


def documents_do_not_see_each_other(config, seed, cut):
    """Two documents in one row give what each gives alone."""
    model, text = model_of(config, seed), text_for(config, seed)
    documents = (torch.arange(LENGTH) >= cut).long()[None].expand_as(text) + 1
    positions = torch.cat((torch.arange(cut), torch.arange(LENGTH - cut)))[None]
    together = states(model, text, position_ids=positions, document_ids=documents)
    for part, now in ((text[:, :cut], slice(None, cut)), (text[:, cut:], slice(cut, None))):
        assert relative(together[:, now], states(model, part)) <= ROUNDING


def a_cache_changes_nothing(config, seed, blocks):
    """The same, block by block, with keys and values kept."""
    model, text = model_of(config, seed), text_for(config, seed)
    cache, parts, start = GrowingCache(), [], 0
    for block in blocks:
        positions = torch.arange(start, start + block)[None]
        parts.append(states(model, text[:, start : start + block], None, positions, cache))
        start += block
    assert relative(torch.cat(parts, 1), states(model, text)) <= ROUNDING


SEEDS = st.integers(0, 10_000)
PLACES = st.integers(1, LENGTH - 1)
SIDES = st.sampled_from(["left", "right"])
BLOCKS = st.sampled_from([[1] * 9, [4, 1, 3, 1], [1, 8], [8, 1], [3, 3, 3]])


@FAST
@given(configs(), SEEDS, PLACES)
def test_nobody_sees_the_future(config, seed, place):
    nobody_sees_the_future(config, seed, place)


@FAST
@given(configs(), SEEDS, PLACES, SIDES)
def test_padding_is_not_seen(config, seed, amount, side):
    padding_is_not_seen(config, seed, amount, side)


@FAST
@given(configs(architecture="encoder"), SEEDS, PLACES, SIDES)
def test_encoders_do_not_see_padding(config, seed, amount, side):
    padding_is_not_seen(config, seed, amount, side)


@FAST
@given(configs(), SEEDS, PLACES)
def test_documents_do_not_see_each_other(config, seed, cut):
    documents_do_not_see_each_other(config, seed, cut)


@FAST
@given(configs(architecture="encoder"), SEEDS, PLACES)
def test_documents_of_encoders_do_not_see_each_other(config, seed, cut):
    documents_do_not_see_each_other(config, seed, cut)


@FAST
@given(configs(), SEEDS, BLOCKS)
def test_a_cache_changes_nothing(config, seed, blocks):
    a_cache_changes_nothing(config, seed, blocks)


@FAST
@given(st.one_of(configs(), configs(architecture="encoder")))
def test_every_config_is_read_as_it_was_written(config):
    read = TransformerConfig.from_hf(config.to_hf(), config.task)
    assert read.task == config.task
    assert read.model_copy(update={"head": None}) == config


@pytest.mark.slow
@MANY
@given(configs(), SEEDS, PLACES, SIDES, BLOCKS)
def test_many_decoders(config, seed, place, side, blocks):
    nobody_sees_the_future(config, seed, place)
    padding_is_not_seen(config, seed, place, side)
    documents_do_not_see_each_other(config, seed, place)
    a_cache_changes_nothing(config, seed, blocks)


@pytest.mark.slow
@MANY
@given(configs(architecture="encoder"), SEEDS, PLACES, SIDES)
def test_many_encoders(config, seed, place, side):
    padding_is_not_seen(config, seed, place, side)
    documents_do_not_see_each_other(config, seed, place)


@given(st.sampled_from(["llama", "gpt2", "mistral"]), configs())
@settings(max_examples=30, deadline=None, derandomize=True)
def test_published_families_refuse_what_they_cannot_say(family, config):
    """What they do write is read as the same model."""
    config = config.model_copy(update={"model_type": family})
    try:
        written = config.to_hf()
    except LmwrightError as error:
        refused = error.what
    else:
        refused = None
        assert TransformerConfig.from_hf(written) == config
    reasons = ("cannot express", "rotates whole heads", "heads do not divide")
    assert refused is None or any(reason in refused for reason in reasons)
