"""A config.json with values of the wrong kind or size is refused in a line, and builds nothing."""

import pytest

from lmwright.core.errors import LmwrightError
from lmwright.models.exchange import config_from
from tests.models.family_cases import DECODERS, hf_config
from tests.models.transformers_cases import ENCODER_DECODERS, ENCODERS, config_of


def content_of(family):
    made = hf_config(family, 0) if family in DECODERS else config_of(family, 0)
    return made.to_dict()


SIZES = ("hidden_size", "d_model", "dim", "num_attention_heads", "n_head", "num_hidden_layers")
ODD = (None, "many", [], {}, 0, -1, 2.5, float("nan"), 10**12, 10**30)


@pytest.mark.parametrize("family", [*DECODERS, *ENCODERS, *ENCODER_DECODERS])
def test_sizes_of_the_wrong_kind(family, tmp_path):
    content = content_of(family)
    for key in (key for key in SIZES if content.get(key) is not None):
        for value in ODD:
            with pytest.raises(LmwrightError) as caught:
                config_from(content | {key: value}, tmp_path)
            assert "config.json" in caught.value.what
            assert "\n" not in caught.value.what


@pytest.mark.parametrize("value", ["many", -1, 2.5, 10**30])
def test_the_place_and_the_value_are_named(value, tmp_path):
    content = content_of("gpt2") | {"n_embd": value}
    with pytest.raises(LmwrightError, match="n_embd is ") as caught:
        config_from(content, tmp_path)
    assert repr(value) in caught.value.what


@pytest.mark.parametrize(
    ("family", "values"),
    [
        ("llama", {"num_attention_heads": 10**8, "num_key_value_heads": 1, "head_dim": 128}),
        ("mixtral", {"num_local_experts": 1_000, "intermediate_size": 10**8}),
    ],
)
def test_widths_that_are_absurd_together(family, values, tmp_path):
    with pytest.raises(LmwrightError, match="together wider"):
        config_from(content_of(family) | values, tmp_path)


@pytest.mark.parametrize(
    ("family", "values"),
    [
        ("llama", {"rope_parameters": "yarn"}),
        ("qwen3_moe", {"decoder_sparse_step": 0}),
        ("t5", {"feed_forward_proj": 3}),
        ("gpt2", {"activation_function": ["gelu"]}),
        ("bert", {"architectures": 7}),
    ],
)
def test_other_values_of_the_wrong_kind(family, values, tmp_path):
    with pytest.raises(LmwrightError) as caught:
        config_from(content_of(family) | values, tmp_path)
    assert "config.json" in caught.value.what


@pytest.mark.parametrize("family", ["gpt2", "bloom", "llama", "gpt_neox", "bert", "modernbert"])
def test_heads_that_do_not_divide_the_width(family, tmp_path):
    content = {k: v for k, v in content_of(family).items() if k != "head_dim"}
    heads = "n_head" if "n_head" in content else "num_attention_heads"
    with pytest.raises(LmwrightError, match="1009 heads do not divide a hidden size of"):
        config_from(content | {heads: 1009, "num_key_value_heads": 1}, tmp_path)
