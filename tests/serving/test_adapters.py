"""Adapters of a served model: chosen by the official client as models, each with its own text."""

import json

import openai
import pytest
import torch
from safetensors.torch import save_file

from lmwright import models
from lmwright.core.errors import LmwrightError
from lmwright.engine.llm import LLM
from lmwright.engine.params import SamplingParams
from lmwright.serving import options
from lmwright.serving.opening import EngineOptions
from lmwright.serving.processes import Starter
from lmwright.tokens import tokenizer as tokens

PROMPT = "What does str.upper do?"
# Published name of a layer -> its shape (N, K) in the run's model.
LAYERS = {"self_attn.q_proj": (32, 32), "self_attn.o_proj": (32, 32), "mlp.up_proj": (64, 32)}


def write_adapter(folder, seed):
    """A PEFT folder with random matrices, and what each adds to its layer's weight."""
    generator = torch.Generator().manual_seed(seed)
    weights, added = {}, {}
    for layer, (width, inputs) in LAYERS.items():
        name = f"layers.0.{layer}"
        up = torch.randn(width, 4, generator=generator)
        down = torch.randn(4, inputs, generator=generator)
        weights[f"base_model.model.model.{name}.lora_A.weight"] = down
        weights[f"base_model.model.model.{name}.lora_B.weight"] = up
        added[f"{name}.weight"] = 2.0 * up @ down
    folder.mkdir()
    save_file(weights, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return added


def merged_texts(run_folder, added):
    """What a model that has the adapter in its weights says."""
    model = models.load(run_folder / "model")
    with torch.no_grad():
        for name, change in added.items():
            model.get_parameter(name).add_(change)
    llm = LLM.from_model(model, tokens.load(run_folder / "model"))
    return llm.generate([PROMPT], SamplingParams(max_tokens=12))[0].text


@pytest.fixture(scope="module")
def served(run_folder, tmp_path_factory, server_context):
    folder = tmp_path_factory.mktemp("adapters")
    texts = {"tiny": merged_texts(run_folder, {})}
    for seed, name in enumerate(["poems", "code/v2"]):
        added = write_adapter(folder / str(seed), seed)
        texts[name] = merged_texts(run_folder, added)
    given = [f"poems={folder / '0'}", f"code/v2={folder / '1'}"]
    adapters = options.adapters(given, "tiny")
    start = Starter(EngineOptions(str(run_folder), max_sequences=4, threads=1, adapters=adapters))
    with (
        server_context(None, start=start, patience=60) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client, texts


def test_adapters_are_models_with_a_parent(served):
    client, _ = served
    parents = {card.id: card.parent for card in client.models.list()}
    assert parents == {"tiny": None, "poems": "tiny", "code/v2": "tiny"}
    assert client.models.retrieve("code/v2").parent == "tiny"


def test_the_model_field_chooses_the_adapter(served):
    client, texts = served
    assert len(set(texts.values())) == 3
    for name, text in texts.items():
        answer = client.completions.create(model=name, prompt=PROMPT, max_tokens=12, temperature=0)
        assert answer.choices[0].text == text
        assert answer.model == name
    with pytest.raises(openai.NotFoundError, match="prose"):
        client.completions.create(model="prose", prompt=PROMPT)


def test_bad_adapters_are_refused_on_the_command_line(tmp_path):
    write_adapter(tmp_path / "a", seed=0)
    folder = tmp_path / "a"
    for given, message in (
        (["a"], "NAME=FOLDER"),
        ([f"={folder}"], "NAME=FOLDER"),
        ([f"tiny={folder}"], "tiny is the name of something else"),
        ([f"a={folder}", f"a={folder}"], "a is the name of something else"),
        ([f"a={tmp_path}"], "adapter_config"),
    ):
        with pytest.raises(LmwrightError, match=message):
            options.adapters(given, "tiny")
