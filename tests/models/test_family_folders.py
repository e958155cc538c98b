"""Decoder families on disk: round trips, heads, older files, what is refused."""

import json

import pytest
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file

from lmwright import models
from lmwright.compression import weights as int8
from lmwright.core.errors import LmwrightError
from lmwright.models import families
from lmwright.models.build import build
from lmwright.models.config import ExpertsConfig, TransformerConfig
from tests.models.cases import relative
from tests.models.family_cases import (
    AUTO,
    DECODERS,
    assert_close,
    fill,
    hf_config,
    padded_mask,
    publish,
    tokens,
)

HEADED = [
    (family, task)
    for family in DECODERS
    for task in families.named(family).heads
    if task != "causal_lm"
]
SHAPE = {
    "vocab_size": 60,
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
}


def every_seed(count, fast):
    return [pytest.param(s, marks=[] if s < fast else pytest.mark.slow) for s in range(count)]


def edit_json(folder, **values):
    path = folder / "config.json"
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps({k: v for k, v in content.items() if v != "absent"}))


def edit_weights(folder, edit):
    weights = {n: w.clone() for n, w in load_file(folder / "model.safetensors").items()}
    save_file(edit(weights), folder / "model.safetensors", metadata={"format": "pt"})


def same_weights(one, other):
    state, again = one.state_dict(), other.state_dict()
    assert state.keys() == again.keys()
    for name, weight in state.items():
        assert torch.equal(weight, again[name]), name


@pytest.mark.parametrize(
    ("seed", "dtype", "tied"),
    [
        pytest.param(seed, dtype, tied, marks=[] if seed == 0 else pytest.mark.slow)
        for seed in range(6)
        for dtype in (torch.float32, torch.bfloat16)
        # Each combination of the two with seeds of both parities, hence with shards and without.
        for tied in [(dtype == torch.float32) == (seed in (0, 1, 4, 5))]
    ],
    ids=str,
)
@pytest.mark.parametrize("family", DECODERS)
def test_round_trip_is_identical_to_the_bit(family, seed, tied, dtype, tmp_path):
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    config = hf_config(family, seed, tie_word_embeddings=tied)
    publish(config, seed, first, dtype=dtype, max_shard_size="20KB" if seed % 2 else "5GB")
    ours = models.load(first)

    models.save(ours, second)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(second)
    theirs.save_pretrained(third, max_shard_size="3KB")
    again = models.load(third)

    assert len(list(third.glob("*.safetensors"))) > 1
    assert again.config == ours.config
    assert again.config.tie_word_embeddings == tied
    assert {weight.dtype for weight in again.state_dict().values()} == {dtype}
    same_weights(ours, again)
    published, written = _all_weights(first), _all_weights(second)
    assert published.keys() == written.keys()
    for name, weight in published.items():
        assert torch.equal(weight, written[name]), name


@pytest.mark.parametrize(
    ("family", "task", "side"),
    [
        pytest.param(
            family,
            task,
            side,
            marks=[] if (number + (side == "left")) % 2 else pytest.mark.slow,
        )
        for number, (family, task) in enumerate(HEADED)
        for side in ("left", "right")
    ],
)
def test_every_head_equals_the_reference(family, task, side, tmp_path):
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    labels = {"reward": 1}.get(task, 3)
    config = hf_config(family, 1, num_labels=labels)
    reference = publish(config, 1, first, task=task)
    ours = models.load(first, task=task)
    text = tokens(config, 1)
    mask = padded_mask(text, side, (0, 4, 9))
    text = text.masked_fill(mask == 0, config.pad_token_id)

    with torch.no_grad():
        expected = reference(text, attention_mask=mask)
        found = (ours.hidden_states if task == "backbone" else ours)(text, attention_mask=mask)
    expected, found = _results(task, expected, found, mask)
    assert_close(found, expected, 1e-5)

    models.save(ours, second)
    AUTO[task].from_pretrained(second).save_pretrained(third)
    again = models.load(third, task=task)
    assert again.config == ours.config
    same_weights(ours, again)
    if task in ("sequence_classification", "reward", "embedding"):
        assert models.load(second).config.task == task  # the folder says what it is


def _results(task, expected, found, mask):
    if task == "backbone":
        return expected.last_hidden_state[mask.bool()], found[mask.bool()]
    if task == "embedding":
        place = torch.arange(mask.shape[1])
        last = (place * mask).amax(1)
        rows = torch.arange(len(mask))
        return F.normalize(expected.last_hidden_state[rows, last], dim=-1), found.logits
    if task == "token_classification":
        return expected.logits[mask.bool()], found.logits[mask.bool()]
    return expected.logits, found.logits


@pytest.mark.parametrize(
    ("published", "wanted"),
    [
        ("causal_lm", "sequence_classification"),
        ("causal_lm", "embedding"),
        ("causal_lm", "backbone"),
        ("sequence_classification", "causal_lm"),
        ("sequence_classification", "token_classification"),
        ("token_classification", "sequence_classification"),
        ("backbone", "token_classification"),
    ],
)
@pytest.mark.parametrize(
    "family",
    [
        "llama",
        *(
            pytest.param(f, marks=pytest.mark.slow)
            for f in ("gpt2", "gpt_neox", "bloom", "mixtral")
        ),
    ],
)
def test_another_task_keeps_the_stack_and_draws_its_own_head(family, published, wanted, tmp_path):
    config = hf_config(family, 0, tie_word_embeddings=False)
    publish(config, 0, tmp_path, task=published)
    ours, again = (models.load(tmp_path, task=wanted) for _ in range(2))
    stack = models.load(tmp_path, task="backbone").state_dict()

    state = ours.state_dict()
    for name, weight in stack.items():
        own = name if name in state else f"backbone.{name}"
        assert torch.equal(state[own], weight), name
    same_weights(ours, again)  # the same head each time
    given = {w.data_ptr(): w for w in load_file(tmp_path / "model.safetensors").values()}
    drawn = [w for n, w in state.items() if n.startswith(("head.", "lm_head."))]
    assert not any(torch.equal(d, g) for d in drawn for g in given.values() if d.shape == g.shape)


def test_classes_become_a_reward_without_losing_their_weights(tmp_path):
    publish(hf_config("llama", 0, num_labels=1), 0, tmp_path, task="sequence_classification")
    score = load_file(tmp_path / "model.safetensors")["score.weight"]
    assert torch.equal(models.load(tmp_path, task="reward").head.project.weight, score)


@pytest.mark.parametrize("seed", every_seed(30, fast=4))
@pytest.mark.parametrize("family", DECODERS)
def test_a_config_is_read_as_it_was_written(family, seed):
    config = TransformerConfig.from_hf(hf_config(family, seed).to_dict())
    assert TransformerConfig.from_hf(json.loads(json.dumps(config.to_hf()))) == config


@pytest.mark.parametrize("family", DECODERS)
def test_what_a_file_leaves_out_is_what_the_reference_assumes(family):
    values = {"model_type": family} | SHAPE | {"hidden_size": 256, "num_attention_heads": 32}
    silent = TransformerConfig.from_hf(values)
    reference = transformers.AutoConfig.for_model(**values)
    assert silent == TransformerConfig.from_hf(reference.to_dict())
    assert silent.pad_token_id == reference.pad_token_id
    assert silent.eos_token_id == reference.eos_token_id


@pytest.mark.parametrize("family", DECODERS)
def test_a_fresh_model_of_every_family(family, tmp_path):
    experts = ExpertsConfig(
        num_experts=4, num_experts_per_tok=2, intermediate_size=32, layers=(0, 1, 2)
    ).model_copy(update={"rounded_weights": family == "qwen3_moe"})
    more = {"experts": experts} if family in ("mixtral", "qwen3_moe") else {}
    small = {} if family in ("gpt2", "bloom", "gpt_neox") else {"num_key_value_heads": 1}
    fresh = families.named(family).fresh(
        **SHAPE | {"intermediate_size": 96 if family == "bloom" else 32}, **small, **more
    )
    model = fill(build(TransformerConfig.model_validate(fresh)), 0).eval()
    text = tokens(model.config, 0)

    models.save(model, tmp_path)
    reference = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)

    assert models.load(tmp_path).config == model.config
    with torch.no_grad():
        assert relative(model(text).logits, reference(text).logits) <= 1e-5


@pytest.mark.parametrize("family", DECODERS)
def test_weights_that_do_not_fit_are_named_as_the_file_names_them(family, tmp_path):
    publish(hf_config(family, 0, num_hidden_layers=2, tie_word_embeddings=False), 0, tmp_path)
    whole = load_file(tmp_path / "model.safetensors")
    first_block = [name for name in whole if ".0." in name]
    for name in first_block[::3] + [n for n in whole if "embed" in n or "wte" in n]:
        edit_weights(tmp_path, lambda w, n=name: {k: v for k, v in whole.items() if k != n})
        assert f"missing weights: {name}" in refused(tmp_path)
        wrong = torch.zeros([size + 1 for size in whole[name].shape])
        edit_weights(tmp_path, lambda w, n=name, wrong=wrong: whole | {n: wrong})
        message = refused(tmp_path)
        assert f"another shape: {name} is {tuple(wrong.shape)}, config.json says" in message
        assert "missing" not in message
        assert "without a place" not in message
    strange = first_block[-1].replace(".0.", ".7.", 1)
    edit_weights(tmp_path, lambda w: whole | {strange: torch.zeros(2)})
    assert f"without a place: {strange}" in refused(tmp_path)


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_an_expert_too_few_or_too_many_is_named(family, tmp_path):
    fixed = {"mlp_only_layers": [], "decoder_sparse_step": 1} if family == "qwen3_moe" else {}
    publish(hf_config(family, 0, **fixed), 0, tmp_path)
    whole = load_file(tmp_path / "model.safetensors")
    last = [n for n in whole if "layers.1" in n and "experts" in n][-1]
    edit_weights(tmp_path, lambda w: {k: v for k, v in whole.items() if k != last})
    assert refused(tmp_path).endswith(f"missing weights: {last}")
    number = last.split("experts.")[1].split(".")[0]
    more = last.replace(f"experts.{number}", "experts.99")
    edit_weights(tmp_path, lambda w: whole | {more: whole[last].clone()})
    assert f"without a place: {more}" in refused(tmp_path)


def refused(folder):
    with pytest.raises(LmwrightError) as caught:
        models.load(folder)
    assert "\n" not in caught.value.what
    return caught.value.what


@pytest.mark.parametrize(
    ("family", "values", "message"),
    [
        ("llama", {"hidden_act": "xielu"}, "activation 'xielu'"),
        ("llama", {"rope_scaling": {"rope_type": "su", "factor": 2.0}}, "rope_type 'su'"),
        (
            "llama",
            {"rope_scaling": {"type": "yarn", "factor": 2.0, "mscale": 0.7}},
            "mscale of rope_type 'yarn'",
        ),
        ("llama", {"rope_scaling": {"type": "linear"}}, "factor"),
        (
            "qwen2",
            {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
            "partial_rotary_factor is 0.5; qwen2 rotates whole heads",
        ),
        ("mistral", {"layer_types": ["full_attention"]}, "layer_types is"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("gpt2", {"embd_pdrop": 0.3}, "embd_pdrop"),
        ("bloom", {"apply_residual_connection_post_layernorm": True}, "apply_residual"),
        ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("gemma3_text", {"attn_logit_softcapping": 30.0}, "attn_logit_softcapping"),
        ("mixtral", {"router_jitter_noise": 0.1}, "router_jitter_noise is 0.1"),
        ("gpt_neox", {"rope_parameters": {"partial_rotary_factor": 0.3}}, "rotary_dim 3 is odd"),
    ],
)
def test_a_key_that_we_cannot_honour_is_named(family, values, message):
    shape = hf_config(family, 0).to_dict()
    shape |= {"hidden_size": 20, "num_attention_heads": 2} if family == "gpt_neox" else {}
    with pytest.raises((LmwrightError, ValueError)) as caught:
        TransformerConfig.from_hf(shape | values)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("llama", {"query_key_norm": True}, "llama cannot express query_key_norm True"),
        ("llama", {"embedding_scale": 2.0}, "embedding_scale 2.0"),
        ("llama", {"rotary_dim": 2}, "whole heads"),
        ("mistral", {"attention_bias": True}, "attention_bias True"),
        ("gemma2", {"attention_scale": 0.3}, "attention_scale 0.3"),
        ("gpt2", {"positions": "alibi"}, "positions 'alibi'"),
        ("bloom", {"intermediate_size": 7}, "intermediate_size 7"),
        ("gpt_neox", {"norm": "rms_norm"}, "norm 'rms_norm'"),
    ],
)
def test_a_family_says_what_it_cannot_express(family, changes, message):
    config = TransformerConfig.from_hf(hf_config(family, 0).to_dict())
    with pytest.raises(LmwrightError, match=message):
        config.model_copy(update=changes).to_hf()


def test_experts_that_refuse_tokens_are_not_published_as_if_they_did_not():
    config = TransformerConfig.from_hf(hf_config("mixtral", 0).to_dict())
    experts = config.experts.model_copy(update={"capacity_factor": 1.25})
    with pytest.raises(LmwrightError, match=r"cannot express experts.capacity_factor 1.25"):
        config.model_copy(update={"experts": experts}).to_hf()


OLD = {
    "llama": lambda c: {
        "rope_parameters": "absent",
        "rope_theta": 5e3,
        "rope_scaling": {"type": "linear", "factor": 2.0},
    },
    "mistral": lambda c: {"rope_parameters": "absent", "rope_theta": 5e3, "sliding_window": 4},
    "qwen2": lambda c: {
        "rope_parameters": "absent",
        "layer_types": "absent",
        "rope_theta": 5e3,
        "use_sliding_window": True,
        "sliding_window": 4,
        "max_window_layers": 1,
    },
    "gemma": lambda c: {"hidden_act": "gelu", "rope_parameters": "absent", "rope_theta": 5e3},
    "gemma2": lambda c: {"layer_types": "absent", "rope_parameters": "absent"},
    "gemma3_text": lambda c: {
        "layer_types": "absent",
        "sliding_window_pattern": 2,
        "rope_parameters": "absent",
        "rope_theta": 5e3,
        "rope_local_base_freq": 3e3,
        "rope_scaling": {"rope_type": "linear", "factor": 3.0},
    },
    "gpt_neox": lambda c: {
        "rope_parameters": "absent",
        "rotary_pct": 0.5,
        "rotary_emb_base": 5_000,
    },
    "bloom": lambda c: {"hidden_size": "absent", "n_embed": c["hidden_size"]},
    "mixtral": lambda c: {"rope_parameters": "absent", "rope_theta": 5e3},
    "qwen3_moe": lambda c: {"num_local_experts": "absent", "num_experts": c["num_local_experts"]},
}


@pytest.mark.parametrize("family", OLD)
def test_older_config_files(family, tmp_path):
    config = hf_config(family, 3)
    publish(config, 3, tmp_path)
    edit_json(tmp_path, **OLD[family](config.to_dict()))
    reference = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    text = tokens(config, 0)

    ours = models.load(tmp_path)

    with torch.no_grad():
        assert_close(ours(text).logits, reference(text).logits, 1e-5)


@pytest.mark.parametrize(
    ("family", "edit"),
    [
        ("llama", lambda w: w | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}),
        ("gpt_neox", lambda w: w | {"gpt_neox.layers.0.attention.bias": torch.ones(1, 1, 4, 4)}),
        (
            "gpt2",  # as first published: no prefix, a causal mask in each block
            lambda w: (
                {n.removeprefix("transformer."): t for n, t in w.items()}
                | {"h.0.attn.bias": torch.ones(1, 1, 4, 4)}
            ),
        ),
        ("bloom", lambda w: {n.removeprefix("transformer."): t for n, t in w.items()}),
    ],
)
def test_older_files_of_weights(family, edit, tmp_path):
    config = hf_config(family, 2, tie_word_embeddings=True)
    publish(config, 2, tmp_path)
    before = models.load(tmp_path)
    edit_weights(tmp_path, edit)
    same_weights(before, models.load(tmp_path))


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_experts_in_one_tensor(family, tmp_path):
    """As transformers 5 holds them in memory, and some files do."""
    reference = publish(hf_config(family, 1), 1, tmp_path)
    before = models.load(tmp_path)
    held = {name: weight.clone() for name, weight in reference.state_dict().items()}
    edit_weights(tmp_path, lambda w: held)
    assert any("gate_up_proj" in name for name in load_file(tmp_path / "model.safetensors"))
    same_weights(before, models.load(tmp_path))


@pytest.mark.parametrize("family", ["llama", "gemma2", "mixtral", "qwen3_moe"])
def test_int8_weights_of_other_families(family, tmp_path):
    publish(hf_config(family, 0), 0, tmp_path / "whole")
    small = int8.quantize(models.load(tmp_path / "whole", dtype=torch.bfloat16))
    text = tokens(small.config, 0)

    int8.save(small, tmp_path / "int8")

    with torch.no_grad():
        assert torch.equal(int8.load(tmp_path / "int8")(text).logits, small(text).logits)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "bloom"])
def test_int8_weights_that_a_family_stores_as_one_are_refused(family, tmp_path):
    publish(hf_config(family, 0), 0, tmp_path / "whole")
    small = int8.quantize(models.load(tmp_path / "whole"))
    with pytest.raises(LmwrightError, match="stores several projections as one"):
        int8.save(small, tmp_path / "int8")


def test_unknown_families_name_the_nearest():
    for wrong, near in (("gemma4", "gemma"), ("mixtrall", "mixtral"), ("gptneox", "gpt_neox")):
        with pytest.raises(LmwrightError, match=f"model_type '{wrong}'") as caught:
            TransformerConfig.from_hf({"model_type": wrong})
        assert near in caught.value.hint


def _all_weights(folder):
    found = {}
    for path in folder.glob("*.safetensors"):
        found |= load_file(path)
    return found
