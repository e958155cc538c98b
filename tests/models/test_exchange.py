"""Model folders: what is refused, and that nothing half-written is left."""

import errno
import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from lmwright import models
from lmwright.core.errors import LmwrightError


@pytest.fixture
def folder(tiny, tmp_path):
    models.save(tiny, tmp_path / "model")
    return tmp_path / "model"


def edit_config(folder, **values):
    path = folder / "config.json"
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps({k: v for k, v in content.items() if v != "absent"}))


def edit_weights(folder, edit):
    weights = load_file(folder / "model.safetensors")
    weights = {name: weight.clone() for name, weight in weights.items()}
    edit(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def refused(folder):
    with pytest.raises(LmwrightError) as caught:
        models.load(folder)
    assert "\n" not in caught.value.what
    return str(caught.value)


def test_saved_and_loaded_again_is_the_same(tiny, folder):
    again = models.load(folder)
    assert again.config == tiny.config
    assert not again.training
    for name, weight in tiny.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    assert all(parameter.requires_grad for parameter in again.parameters())


def test_dtype_on_loading(folder):
    model = models.load(folder, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_a_loaded_model_outlives_its_folder(folder, tiny):
    model = models.load(folder)
    tokens = torch.arange(5)[None]
    before = model(tokens).logits
    tiny.initialize(1)
    models.save(tiny, folder)
    assert torch.equal(model(tokens).logits, before)


def test_missing_weights_are_named(folder):
    edit_weights(folder, lambda w: w.pop("model.layers.1.mlp.up_proj.weight"))
    message = refused(folder)
    assert "missing weights: model.layers.1.mlp.up_proj.weight" in message


def test_extra_weights_are_named(folder):
    edit_weights(folder, lambda w: w.update({"model.layers.9.strange.weight": torch.zeros(2)}))
    assert "without a place: model.layers.9.strange.weight" in refused(folder)


def test_misshapen_weights_are_named_with_both_shapes(folder):
    edit_weights(folder, lambda w: w.update({"model.norm.weight": torch.zeros(3)}))
    message = refused(folder)
    assert "model.norm.weight is (3,)" in message
    assert "config.json says" in message


def test_many_wrong_weights_are_counted(folder):
    edit_weights(folder, lambda w: [w.pop(name) for name in list(w) if "layers.0" in name])
    assert "and 6 more" in refused(folder)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.999])
def test_truncated_weights(folder, keep):
    path = folder / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    assert "truncated or corrupt" in refused(folder)


def test_missing_files(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    assert "holds no weights" in refused(folder)
    (folder / "config.json").unlink()
    assert "no config.json" in refused(folder)
    index = {"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}
    models.save(models.load(_fresh(tmp_path)), folder.with_name("sharded"))
    sharded = folder.with_name("sharded")
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-00001-of-00002.safetensors, which is missing" in refused(sharded)


def test_unknown_family_names_the_known_ones(folder):
    edit_config(folder, model_type="qwen4")
    message = refused(folder)
    assert "qwen4" in message
    assert "did you mean qwen3" in message
    edit_config(folder, model_type="absent")
    assert "model_type" in refused(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_act": "xielu"}, "activation 'xielu'"),
        (
            {"rope_parameters": {"rope_type": "longrope", "rope_theta": 1.0}},
            "rope_type 'longrope'",
        ),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1.0}}, "factor"),
        ({"hidden_size": "absent"}, "no hidden_size"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"num_key_value_heads": 5, "num_attention_heads": 6}, "not a multiple"),
    ],
)
def test_configs_that_ask_for_what_we_lack(folder, values, message):
    edit_config(folder, **values)
    assert message in refused(folder)


def test_broken_config(folder):
    (folder / "config.json").write_text('{"model_type": ')
    assert "not valid JSON" in refused(folder)
    (folder / "config.json").write_text("[]")
    assert "not a JSON object" in refused(folder)


@pytest.mark.parametrize("name", ["owner/no-such-model", "no-such-model", "./a/b/c", "a/b/c"])
def test_neither_folder_nor_hub_model(name):
    with pytest.raises(LmwrightError) as caught:
        models.load(name)
    assert name in caught.value.what
    assert "\n" not in caught.value.what


def test_other_peoples_folders_are_not_overwritten(tiny, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(LmwrightError, match="will not be overwritten"):
        models.save(tiny, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_file_of_that_name_is_not_overwritten(tiny, tmp_path):
    (tmp_path / "thesis").write_text("years of work")
    with pytest.raises(LmwrightError, match="thesis is a file; it will not be overwritten"):
        models.save(tiny, tmp_path / "thesis")
    with pytest.raises(LmwrightError, match="thesis"):
        models.save(tiny, tmp_path / "thesis" / "model")
    assert (tmp_path / "thesis").read_text() == "years of work"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]


@pytest.mark.parametrize("content", ['{"port": 80}', "[]", "{"])
def test_a_config_of_another_program_is_no_model(tiny, tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(LmwrightError, match="will not be overwritten"):
        models.save(tiny, tmp_path)
    assert (tmp_path / "config.json").read_text() == content


@pytest.mark.parametrize("name", [".", "..", "../.."])
def test_the_folder_one_stands_in_is_not_replaced(tiny, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LmwrightError, match="name a new folder"):
        models.save(tiny, name)


def test_a_place_one_may_not_write_to(tiny, tmp_path, monkeypatch):
    def denied(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", denied)
    with pytest.raises(LmwrightError, match="model cannot be written: Permission denied"):
        models.save(tiny, tmp_path / "model")


def test_a_failed_save_leaves_the_old_model_whole(tiny, folder):
    class BrokenTokenizer:
        def save(self, folder):
            raise RuntimeError("no")

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(RuntimeError):
        models.save(tiny, folder, tokenizer=BrokenTokenizer())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_tokenizer_files_go_along(tiny, folder, tmp_path):
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{}")
    (tmp_path / "tokenizer" / "chat_template.jinja").write_text("x")
    models.save(tiny, folder, tokenizer=tmp_path / "tokenizer")
    assert (folder / "chat_template.jinja").read_text() == "x"
    with pytest.raises(LmwrightError, match="no tokenizer files"):
        models.save(tiny, folder, tokenizer=tmp_path)


def test_config_and_package_need_no_torch():
    code = (
        "import sys; from lmwright import models, compression; "
        "from lmwright.models import accounting, config; "
        "from lmwright.compression import commands; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def _fresh(tmp_path):
    from lmwright.models.config import TransformerConfig
    from lmwright.models.transformer import Decoder
    from tests.models.cases import random_shape

    models.save(Decoder(TransformerConfig(**random_shape(0))), tmp_path / "fresh")
    return tmp_path / "fresh"
