"""Files of weights: shards as transformers writes them, old pickles, and what is refused."""

import json
import pickle

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from lmwright import models
from lmwright.core.errors import LmwrightError
from lmwright.models.weights_files import read_weights, write_weights

SHAPE = {
    "vocab_size": 80,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.fixture(params=[False, True], ids=["untied", "tied"])
def theirs(request):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SHAPE, tie_word_embeddings=request.param)
    return transformers.LlamaForCausalLM(config).eval()


def logits(model):
    tokens = torch.randint(80, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model(tokens).logits


def refused(folder):
    with pytest.raises(LmwrightError) as caught:
        read_weights(folder)
    assert "\n" not in caught.value.what
    return str(caught.value)


def test_shards_of_transformers(theirs, tmp_path):
    theirs.save_pretrained(tmp_path / "whole")
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    whole, shards = models.load(tmp_path / "whole"), models.load(tmp_path / "shards")
    assert torch.equal(logits(whole), logits(shards))
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, shards.state_dict()[name])


def test_transformers_opens_our_shards(theirs, tmp_path):
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    models.save(models.load(tmp_path / "theirs"), tmp_path / "ours", max_shard_bytes=20_000)
    assert not (tmp_path / "ours" / "model.safetensors").exists()
    again = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "ours").eval()
    assert torch.equal(logits(again), logits(theirs))
    for name, weight in theirs.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])


def test_the_index_is_theirs_to_the_letter(tmp_path):
    torch.manual_seed(0)
    weights = {f"layer.{i}.weight": torch.randn(20, 10 + i) for i in range(12)}
    module = _Holder(transformers.PreTrainedConfig(), weights)
    module.save_pretrained(tmp_path / "theirs", max_shard_size=2000)
    (tmp_path / "ours").mkdir()
    write_weights(tmp_path / "ours", module.state_dict(), max_shard_bytes=2000)
    name = "model.safetensors.index.json"
    assert (tmp_path / "ours" / name).read_text() == (tmp_path / "theirs" / name).read_text()
    for file in (tmp_path / "theirs").glob("*.safetensors"):
        assert (tmp_path / "ours" / file.name).read_bytes() == file.read_bytes()


class _Holder(transformers.PreTrainedModel):
    """Any weights at all, saved by transformers."""

    def __init__(self, config, weights):
        super().__init__(config)
        for name, weight in weights.items():
            self.register_parameter(name.replace(".", "_"), torch.nn.Parameter(weight))
        self.post_init()

    def _init_weights(self, module):
        pass


def test_one_name_for_tied_weights(tmp_path):
    weight = torch.randn(4, 3)
    write_weights(tmp_path, {"a": weight, "b": weight, "c": weight[:2], "d": weight.clone()})
    assert set(load_file(tmp_path / "model.safetensors")) == {"a", "c", "d"}


def test_who_reads_other_files_reads_the_weights(tmp_path):
    (tmp_path / "plain").touch()
    write_weights(tmp_path, {"a": torch.zeros(2)})
    mode = (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "model.safetensors").stat().st_mode == mode


@pytest.mark.parametrize("archive", [True, False], ids=["zip", "legacy"])
def test_old_pickles(theirs, archive, tmp_path):
    theirs.save_pretrained(tmp_path)
    expected = logits(models.load(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    state = theirs.state_dict()
    torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=archive)
    assert torch.equal(logits(models.load(tmp_path)), expected)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_file_of_a_folder_is_no_model(theirs, file, tmp_path):
    theirs.save_pretrained(tmp_path)
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(LmwrightError) as caught:
        models.load(tmp_path / file)
    assert f"give the folder of both: {tmp_path}" in str(caught.value)


def test_sharded_pickles(theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    expected = logits(models.load(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    names = list(theirs.state_dict())
    parts = {"a.bin": names[::2], "b.bin": names[1::2]}
    for file, part in parts.items():
        torch.save({name: theirs.state_dict()[name] for name in part}, tmp_path / file)
    places = {name: file for file, part in parts.items() for name in part}
    index = {"metadata": {}, "weight_map": places}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert torch.equal(logits(models.load(tmp_path)), expected)


class Runs:
    """What a pickle of an attacker does when it is opened."""

    def __reduce__(self):
        return (open, ("RUN", "w"))


@pytest.mark.parametrize(
    "content",
    [{"a": Runs()}, Runs(), {"a": [torch.zeros(1)]}, [torch.zeros(1)], torch.nn.Linear(2, 2)],
    ids=["code", "code alone", "list in it", "list", "module"],
)
@pytest.mark.parametrize("archive", [True, False], ids=["zip", "legacy"])
def test_pickles_with_anything_else_are_refused(content, archive, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=archive)
    assert "holds more than named tensors" in refused(tmp_path)
    assert not (tmp_path / "RUN").exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_bare_pickle_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Runs(), protocol))
        assert "pytorch_model.bin" in refused(tmp_path)
        assert not (tmp_path / "RUN").exists()


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.999])
def test_truncated_files_are_named(file, keep, tmp_path):
    state = {"a": torch.randn(50, 50), "b": torch.arange(9)}
    path = tmp_path / file
    torch.save(state, path) if file.endswith("bin") else save_file(state, path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    message = refused(tmp_path)
    assert f"{path} is truncated or corrupt" in message


@pytest.mark.parametrize("protocol", [True, False], ids=["zip", "legacy"])
def test_every_truncated_pickle_is_one_clear_error(protocol, tmp_path):
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=protocol)
    whole = path.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:length])
        assert str(path) in refused(tmp_path)


def test_indices_that_lie(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "one.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    for content, message in [
        ({"weight_map": {"a": "one.safetensors", "b": "one.safetensors"}}, "holds b, which it"),
        ({"weight_map": {"a": "two.safetensors"}}, "two.safetensors, which is missing"),
        ({"weight_map": {"a": "../one.safetensors"}}, "not a file of the same folder"),
        ({"weight_map": {}}, "has no weight_map"),
        ([], "has no weight_map"),
    ]:
        index.write_text(json.dumps(content))
        assert message in refused(tmp_path)


def test_no_weights_at_all(tmp_path):
    assert "holds no weights: neither model.safetensors nor pytorch_model.bin" in refused(tmp_path)
