"""Adapters that PEFT wrote: its own outputs, alone and mixed, and what is refused."""

import json

import peft
import pytest
import torch
import transformers

from lmwright import compression, models
from lmwright.core.errors import LmwrightError
from lmwright.tuning.lora import MultiLora
from tests.models.cases import relative

TINY = {
    "vocab_size": 60,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
GPT2 = {"vocab_size": 60, "n_embd": 64, "n_layer": 2, "n_head": 4}
NEOX = {key: value for key, value in TINY.items() if key != "num_key_value_heads"}
FAMILIES = {
    "llama": (
        lambda: transformers.LlamaConfig(**TINY),
        [
            {"r": 4, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"]},
            {"r": 8, "lora_alpha": 8, "use_rslora": True, "target_modules": "all-linear"},
            {
                "r": 2,
                "lora_alpha": 4,
                "target_modules": ["down_proj", "o_proj"],
                "rank_pattern": {"o_proj": 6},
                "alpha_pattern": {r"layers\.1\.mlp\.down_proj": 20},
            },
        ],
    ),
    "gpt2": (
        lambda: transformers.GPT2Config(**GPT2),
        [{"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}, {"r": 3}],
    ),
    "gpt_neox": (
        lambda: transformers.GPTNeoXConfig(**NEOX),
        [{"target_modules": ["query_key_value", "dense_h_to_4h"]}, {"r": 3}],
    ),
}


def published(family, folder):
    """A base model's folder and the folders of its adapters, with matrices that matter."""
    config, wanted = FAMILIES[family]
    torch.manual_seed(0)
    base = transformers.AutoModelForCausalLM.from_config(config())
    with torch.no_grad():
        for parameter in base.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    base.save_pretrained(folder / "base")
    names = []
    for number, settings in enumerate(wanted):
        again = transformers.AutoModelForCausalLM.from_pretrained(folder / "base")
        tuned = peft.get_peft_model(again, peft.LoraConfig(task_type="CAUSAL_LM", **settings))
        with torch.no_grad():
            for name, parameter in tuned.named_parameters():
                if "lora_" in name:
                    parameter.normal_(0.0, 0.1)
        names.append(f"a{number}")
        tuned.save_pretrained(folder / names[-1])
    return {name: folder / name for name in names}


def reference(folder, adapter, tokens):
    base = transformers.AutoModelForCausalLM.from_pretrained(folder / "base").eval()
    if adapter is not None:
        base = peft.PeftModel.from_pretrained(base, folder / adapter).eval()
    return base(tokens).logits


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_each_adapter_is_pefts_alone_and_mixed(family, tmp_path):
    folders = published(family, tmp_path)
    model = models.load(tmp_path / "base")
    plain = model(torch.arange(7)[None]).logits
    lora = MultiLora(model, folders)
    tokens = torch.randint(60, (len(folders) + 1, 7), generator=torch.Generator().manual_seed(1))
    wanted = [*folders, None]
    pairs = list(zip(wanted, tokens, strict=True))
    expected = [reference(tmp_path, name, row[None]) for name, row in pairs]
    for name, row, logits in zip(wanted, tokens, expected, strict=True):
        with lora.selected([name] * 7):
            assert relative(model(row[None]).logits, logits) <= 1e-5
    assert relative(expected[0], reference(tmp_path, None, tokens[:1])) > 0.1

    # All at once: rows beside each other, then one row of all, as packed documents.
    with lora.selected([name for name in wanted for _ in range(7)]):
        together = model(tokens).logits
        documents = torch.arange(1, len(wanted) + 1).repeat_interleave(7)[None]
        places = torch.arange(7).repeat(len(wanted))[None]
        flat = None
        if family != "gpt2":
            flat = model(tokens.view(1, -1), position_ids=places, document_ids=documents).logits
    for number, logits in enumerate(expected):
        assert relative(together[number][None], logits) <= 1e-5
        if flat is not None:
            assert relative(flat[:, 7 * number : 7 * number + 7], logits) <= 1e-5
    assert torch.equal(model(torch.arange(7)[None]).logits, plain)
    lora.remove()
    assert torch.equal(model(torch.arange(7)[None]).logits, plain)


@torch.no_grad()
def test_quantised_models_take_adapters(tmp_path):
    folders = published("llama", tmp_path)
    model = compression.quantize(models.load(tmp_path / "base"), 8, 32)
    lora, tokens = MultiLora(model, folders), torch.arange(9)[None]
    with lora.selected(["a0"] * 9):
        assert relative(model(tokens).logits, reference(tmp_path, "a0", tokens)) <= 0.2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "IA3"}, "IA3"),
        ({"bias": "all"}, "bias"),
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"lora_alpha": "much"}, "lora_alpha"),
    ],
)
def test_other_adapters_are_refused(change, message, tmp_path):
    folders = published("llama", tmp_path)
    path = folders["a0"] / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(LmwrightError, match=message):
        MultiLora(models.load(tmp_path / "base"), folders)


def test_bad_folders_and_names_are_refused(tmp_path):
    folders = published("llama", tmp_path)
    model = models.load(tmp_path / "base")
    with (
        pytest.raises(LmwrightError, match="no adapter 'b'"),
        MultiLora(model, folders).selected(["b"]),
    ):
        pass
    with pytest.raises(LmwrightError, match=r"adapter_config\.json"):
        MultiLora(model, {"b": tmp_path / "base"})
    published("gpt_neox", tmp_path / "other")
    with pytest.raises(LmwrightError, match="not a linear layer"):
        MultiLora(model, {"b": tmp_path / "other" / "a0"})
    weights = folders["a0"] / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(LmwrightError, match="truncated"):
        MultiLora(model, folders)
    weights.unlink()
    with pytest.raises(LmwrightError, match="has no adapter_model"):
        MultiLora(model, folders)
