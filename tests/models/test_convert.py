"""`lmwright convert`: from format to format and family to family, proved before it is written."""

import copy
import json
import subprocess
import sys

import pytest
import torch
import transformers

from lmwright import models
from lmwright.core.errors import LmwrightError
from lmwright.models import convert as convert_module
from lmwright.models.classic_config import RecurrentConfig
from lmwright.models.convert import convert, size_in_bytes
from lmwright.models.folders import classic_model
from tests.models import gguf_cases
from tests.models.cases import relative

SHAPE = {
    "vocab_size": 80,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


def saved(name, folder, **config):
    torch.manual_seed(0)
    made = getattr(transformers, f"{name}Config")(**SHAPE | config)
    model = getattr(transformers, f"{name}ForCausalLM")(made).eval()
    model.save_pretrained(folder)
    return model


def logits(model):
    tokens = torch.randint(80, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model(tokens).logits


def theirs(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


def quietly(*args, **options):
    said = []
    convert(*args, note=said.append, **options)
    return "\n".join(said)


def test_llama_becomes_mistral_and_comes_back(tmp_path):
    expected = logits(saved("Llama", tmp_path / "llama"))
    said = quietly(str(tmp_path / "llama"), tmp_path / "mistral", to="mistral")
    assert "mistral" in said
    assert "to the bit" in said
    assert json.loads((tmp_path / "mistral" / "config.json").read_text())["model_type"] == "mistral"
    assert relative(logits(theirs(tmp_path / "mistral")), expected) <= 1e-5
    quietly(str(tmp_path / "mistral"), tmp_path / "back", to="llama")
    assert relative(logits(theirs(tmp_path / "back")), expected) <= 1e-5
    first, second = models.load(tmp_path / "llama"), models.load(tmp_path / "back")
    assert first.config == second.config
    assert torch.equal(logits(first), logits(second))


@pytest.mark.parametrize(
    ("name", "config", "to", "message"),
    [
        ("Mistral", {"sliding_window": 8}, "llama", "cannot express"),
        ("Qwen3", {"head_dim": 8}, "llama", "llama cannot express query_key_norm"),
        ("Llama", {}, "gpt2", "gpt2 cannot express"),
        ("Llama", {}, "qwen3", "qwen3 cannot express query_key_norm"),
        ("Llama", {}, "qwen4", "qwen4 is not a family we have"),
    ],
)
def test_what_a_family_cannot_express_is_named(name, config, to, message, tmp_path):
    saved(name, tmp_path / "source", **config)
    with pytest.raises(LmwrightError) as caught:
        quietly(str(tmp_path / "source"), tmp_path / "target", to=to)
    assert message in caught.value.what
    assert not (tmp_path / "target").exists()


def test_old_pickles_become_shards_of_another_type(tmp_path):
    model = saved("Llama", tmp_path / "source")
    (tmp_path / "source" / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "source" / "pytorch_model.bin")
    (tmp_path / "source" / "tokenizer.json").write_text("{}")
    quietly(str(tmp_path / "source"), tmp_path / "target", dtype="bfloat16", max_shard_size="10KB")
    assert len(list((tmp_path / "target").glob("*.safetensors"))) > 1
    assert (tmp_path / "target" / "tokenizer.json").read_text() == "{}"
    opened = theirs(tmp_path / "target")
    assert opened.dtype == torch.bfloat16
    for name, weight in model.state_dict().items():
        assert torch.equal(opened.state_dict()[name], weight.bfloat16())


def test_the_way_to_generate_comes_along(tmp_path):
    saved("Llama", tmp_path / "source")
    said = {"eos_token_id": [2, 7], "temperature": 0.3, "do_sample": True}
    (tmp_path / "source" / "generation_config.json").write_text(json.dumps(said))
    quietly(str(tmp_path / "source"), tmp_path / "target")
    assert json.loads((tmp_path / "target" / "generation_config.json").read_text()) == said


def test_gguf_becomes_a_folder(tmp_path):
    gguf_cases.reference("qwen3_moe", 0, tmp_path / "reference")
    gguf_cases.write("qwen3_moe", tmp_path / "reference", tmp_path / "model.gguf", "q8_0")
    quietly(str(tmp_path / "model.gguf"), tmp_path / "folder")
    expected = logits(theirs(tmp_path / "reference"))
    assert relative(logits(theirs(tmp_path / "folder")), expected) <= 1e-5


def test_a_difference_leaves_nothing_behind(tmp_path, monkeypatch):
    saved("Llama", tmp_path / "source")
    saved("Llama", tmp_path / "target", num_hidden_layers=1)
    before = {path.name: path.read_bytes() for path in (tmp_path / "target").iterdir()}
    count = iter(range(9))
    monkeypatch.setattr(convert_module, "_logits", lambda model: torch.tensor(next(count)))
    with pytest.raises(LmwrightError, match="differs from the source; nothing was written"):
        quietly(str(tmp_path / "source"), tmp_path / "target")
    assert {p.name: p.read_bytes() for p in (tmp_path / "target").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


def test_sizes():
    assert [size_in_bytes(t) for t in ("5GB", "500 mb", "1.5KB", "70", "2G")] == [
        5 * 10**9, 5 * 10**8, 1500, 70, 2 * 10**9,
    ]  # fmt: skip
    for wrong in ("", "GB", "5XB", "-1MB", "0GB"):
        with pytest.raises(LmwrightError, match="is not a size"):
            size_in_bytes(wrong)


def test_wrong_arguments_are_named(tmp_path):
    saved("Llama", tmp_path / "source")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years")
    for target, options, message in [
        ("full", {}, "will not be overwritten"),
        ("x", {"dtype": "int3"}, "dtype int3 is not one of"),
        ("x", {"max_shard_size": "much"}, "'much' is not a size"),
    ]:
        with pytest.raises(LmwrightError, match=message):
            quietly(str(tmp_path / "source"), tmp_path / target, **options)
    with pytest.raises(LmwrightError, match="there is no model at nowhere"):
        quietly("nowhere", tmp_path / "x")


@pytest.mark.slow
def test_the_command(tmp_path):
    saved("Llama", tmp_path / "source")

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "lmwright", "convert", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    done = run("source", "target", "--dtype", "float16")
    assert done.returncode == 0, done.stderr
    assert "target: llama," in done.stdout
    assert models.load(tmp_path / "target").embed_tokens.weight.dtype == torch.float16
    done = run("nowhere", "x")
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no model at nowhere")


def test_a_model_of_damaged_numbers_is_named(tiny, tmp_path):
    damaged = copy.deepcopy(tiny)
    with torch.no_grad():
        damaged.embed_tokens.weight.fill_(torch.nan)
    models.save(damaged, tmp_path / "damaged")
    with pytest.raises(LmwrightError, match=r"computes NaN.*embed_tokens\.weight"):
        convert(tmp_path / "damaged", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_came_before_attention_has_no_other_format(tmp_path):
    shape = {"vocab_size": 20, "embedding_size": 4, "hidden_size": 4, "num_layers": 1}
    config = RecurrentConfig(**shape, task="causal_lm", cell="lstm", bidirectional=False)
    models.save(classic_model(config), tmp_path / "old")
    with pytest.raises(LmwrightError, match="is a recurrent; only transformers"):
        convert(tmp_path / "old", tmp_path / "new")
