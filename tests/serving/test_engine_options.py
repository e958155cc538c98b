"""Options that reach the engine, its cache and guessing ahead: over HTTP, with tiny real models."""

import json
import re
from contextlib import contextmanager

import pytest
import torch

from lmwright import models
from lmwright.core.errors import LmwrightError
from lmwright.engine.llm import LLM
from lmwright.engine.params import SamplingParams
from lmwright.models.families import OWN_HEAD
from lmwright.models.transformer import Decoder
from lmwright.serving import commands
from lmwright.serving.opening import EngineOptions, load
from lmwright.serving.processes import Starter
from tests.serving.small import TEXT, small_model
from tests.serving.test_adapters import write_adapter

PROMPTS = [TEXT, "str.upper", "What does it do? What does it", "日本語 🙂"]
LONG = TEXT * 3  # several whole blocks of 16 tokens


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model, a smaller one of the same vocabulary, and one of another."""
    model, tokenizer = small_model(context=512)
    one_layer = {"num_hidden_layers": 1, "layer_types": model.config.layer_types[:1]}
    smaller = Decoder(model.config.model_copy(update=one_layer))
    smaller.load_state_dict(model.state_dict(), strict=False)
    foreign = Decoder(model.config.model_copy(update={"vocab_size": 352}))
    foreign.initialize(0)
    found = tmp_path_factory.mktemp("models")
    for name, decoder in (("model", model), ("smaller", smaller), ("foreign", foreign)):
        models.save(decoder, found / name, tokenizer=tokenizer)
    return found


@pytest.fixture(scope="module")
def opened(folders, server_context):
    """`opened(...)` is a server whose engine was opened with these options."""

    @contextmanager
    def open_server(**options):
        wanted = EngineOptions(str(folders / "model"), max_sequences=4, threads=1, **options)
        with server_context(lambda: load(wanted), patience=60) as server, server.client() as client:
            client.runner = server.worker.served.runner
            client.stats = lambda: server.worker._supervisor._current.stats
            yield client

    return open_server


@pytest.fixture(scope="module")
def plain(opened):
    with opened() as client:
        yield client


def texts(client, **fields):
    body = {"model": "tiny", "prompt": PROMPTS, "max_tokens": 60, "ignore_eos": True, **fields}
    answer = client.post("/v1/completions", json=body)
    assert answer.status_code == 200, answer.text
    return [choice["text"] for choice in answer.json()["choices"]]


def metric(client, name):
    found = re.search(rf"^lmwright:{name}{{.*}} (\S+)$", client.get("/metrics").text, re.M)
    return float(found[1])


@pytest.mark.parametrize("draft", ["ngram", "smaller"])
def test_guessing_ahead_changes_no_text(plain, opened, folders, eventually, draft):
    name = draft if draft == "ngram" else str(folders / draft)
    with opened(draft=name, draft_tokens=3) as client:
        assert texts(client) == texts(plain)
        drawn = {"temperature": 1.0, "seed": 7}
        assert texts(client, **drawn) == texts(plain, **drawn)
        eventually(lambda: metric(client, "spec_decode_num_accepted_tokens_total") > 0)
        drafts, guessed = (
            metric(client, f"spec_decode_num_{counted}_total")
            for counted in ("drafts", "draft_tokens")
        )
        assert 0 < guessed <= 3 * drafts, "more were guessed at a time than was asked for"
        assert client.runner.endswith(f"drafts by {name}")
    assert metric(plain, "spec_decode_num_drafts_total") == 0


def test_answers_in_json_are_guessed_too(plain, opened):
    form = {"response_format": {"type": "json_object"}, "ignore_eos": False}
    form |= {"temperature": 1.0, "seed": 1}
    with opened(draft="ngram") as client:
        found = texts(client, **form)
    assert found == texts(plain, **form)
    assert all(isinstance(json.loads(text), dict) for text in found)


def test_adapters_and_guesses_go_together(opened, folders, tmp_path):
    write_adapter(tmp_path / "adapter", seed=0)
    options = {"adapters": {"poems": str(tmp_path / "adapter")}}
    with opened(**options) as client:
        expected = [texts(client, model=name) for name in ("tiny", "poems")]
    with opened(**options, draft="ngram") as client:
        assert [texts(client, model=name) for name in ("tiny", "poems")] == expected
    assert expected[0] != expected[1]


@pytest.mark.parametrize("others", [{}, {"draft": "ngram"}, {"prefix_caching": False}])
def test_int8_keys_and_values_are_served(opened, folders, others):
    params = SamplingParams(max_tokens=60, ignore_eos=True)
    reference = LLM(folders / "model", kv="int8", threads=1)
    expected = [completion.text for completion in reference.generate(PROMPTS, params)]
    with opened(kv="int8", **others) as client:
        assert "int8" in client.runner
        assert texts(client) == expected


@pytest.mark.parametrize("caching", [True, False])
def test_a_beginning_is_found_again_only_where_that_is_on(opened, eventually, caching):
    with opened(prefix_caching=caching) as client:
        for _ in range(2):
            texts(client, prompt=LONG, max_tokens=2)
        eventually(lambda: client.stats()["generation_tokens"] == 4)
        hits = metric(client, "prefix_cache_hits_total")
    assert (hits >= 16) if caching else (hits == 0)


def test_so_many_blocks_are_the_longest_request(opened):
    with opened(kv_blocks=4) as client:
        assert client.get("/v1/models").json()["data"][0]["max_model_len"] == 4 * 16
        assert texts(client, prompt="str", max_tokens=30)
        refused = client.post("/v1/completions", json={"model": "tiny", "prompt": LONG})
    assert refused.json()["error"]["code"] == "context_length_exceeded"


def test_blocks_that_no_memory_holds_are_refused(folders):
    with pytest.raises(LmwrightError, match=r"kv_blocks=\d+ would take .* GB"):
        load(EngineOptions(str(folders / "model"), kv_blocks=10**12))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"kv_type": "float"}, "--kv-type float: it must be one of fp32, bf16, int8"),
        ({"draft_tokens": 3}, "--draft-tokens .* there is no --draft"),
        ({"draft": "no-such-model"}, "--draft no-such-model: there is no run"),
        ({"draft": "FOREIGN"}, "--draft .*foreign: its tokens are not those of"),
    ],
)
def test_what_cannot_be_is_refused_before_an_engine_starts(folders, monkeypatch, options, named):
    monkeypatch.setattr(Starter, "start_early", lambda self: pytest.fail("an engine was started"))
    if options.get("draft") == "FOREIGN":
        options = {"draft": str(folders / "foreign")}
    with pytest.raises(LmwrightError, match=named):
        commands.serve(str(folders / "model"), port=0, **options)


def test_a_model_that_is_swapped_in_must_share_the_drafts_vocabulary(folders):
    swapped = EngineOptions(str(folders / "foreign"), draft=str(folders / "smaller"))
    with pytest.raises(LmwrightError, match="its tokens are not those of"):
        load(swapped)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"weights": "int8"}, "--weights"),
        ({"kv": "int8"}, "--kv-type"),
        ({"kv_blocks": 9}, "--kv-blocks"),
        ({"prefix_caching": False}, "--no-prefix-caching"),
        ({"draft": "ngram"}, "--draft"),
    ],
)
def test_a_model_that_gives_vectors_has_none_of_them(tmp_path, options, named):
    (tmp_path / "config.json").write_text(json.dumps({OWN_HEAD: {"task": "embedding"}}))
    with pytest.raises(LmwrightError, match=f"{named}: .* gives vectors"):
        load(EngineOptions(str(tmp_path), **options))
