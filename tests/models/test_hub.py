"""Published models by name, against a small hub on localhost."""

import os
import subprocess
import sys

import pytest

from lmwright.core.errors import LmwrightError
from lmwright.models import hub as our_hub
from tests.models import fake_hub

CONFIG = b'{"model_type": "llama"}'
WEIGHTS = bytes(range(256)) * 20


@pytest.fixture
def hub():
    with fake_hub.running() as running:
        running.publish("owner/name", {"config.json": CONFIG, "model.safetensors": WEIGHTS})
        yield running


@pytest.fixture
def locate(hub, tmp_path):
    """Runs `locate` in a process of its own: the library reads its settings when imported."""

    def call(name, *, revision=None, weights=True, **environment):
        code = (
            "import sys; from lmwright.models.hub import locate\n"
            "from lmwright.core.errors import LmwrightError\n"
            f"try: print(locate(sys.argv[1], revision=sys.argv[2] or None, weights={weights}))\n"
            "except LmwrightError as error: print(error); sys.exit(2)\n"
            "assert 'torch' not in sys.modules"
        )
        settings = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        # The library looks for who is asking; it is nobody here.
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        done = subprocess.run(
            [sys.executable, "-c", code, name, revision or ""],
            env=kept | settings | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (0, 2), done.stderr
        done.stdout = done.stdout.strip()
        return done

    return call


def content(done, name="model.safetensors"):
    assert done.returncode == 0, done.stdout
    with open(os.path.join(done.stdout, name), "rb") as file:
        return file.read()


def refusal(done):
    assert done.returncode == 2
    return done.stdout


def test_download_then_offline_from_the_cache(hub, locate):
    first = locate("owner/name")
    assert content(first) == WEIGHTS
    assert content(first, "config.json") == CONFIG
    asked = len(hub.requests)
    again = locate("owner/name", HF_HUB_OFFLINE="1")
    assert again.stdout == first.stdout
    assert len(hub.requests) == asked
    assert "HF_HUB_OFFLINE is set" in refusal(locate("owner/other", HF_HUB_OFFLINE="1"))


def test_revisions_are_pinned(hub, locate):
    old = hub.publish("owner/name", {"config.json": b"old", "model.safetensors": b"1"}, "v1.0")
    assert content(locate("owner/name@v1.0"), "config.json") == b"old"
    assert content(locate("owner/name", revision=old), "config.json") == b"old"
    assert content(locate("owner/name"), "config.json") == CONFIG
    assert "it has no revision v2" in refusal(locate("owner/name@v2"))


def test_only_what_is_needed_is_downloaded(hub, locate):
    files = {
        "config.json": CONFIG,
        "model.safetensors": WEIGHTS,
        "consolidated.safetensors": WEIGHTS,
        "pytorch_model.bin": b"pickle",
        "model.Q8_0.gguf": b"GGUF",
        "tokenizer.model": b"pieces",
        "spiece.model": b"pieces",
        "vocab.txt": b"words",
        "flax_model.msgpack": b"x",
    }
    hub.publish("owner/many", files)
    done = locate("owner/many")
    assert sorted(os.listdir(done.stdout)) == [
        "config.json",
        "model.safetensors",
        "spiece.model",
        "tokenizer.model",
        "vocab.txt",
    ]


def test_what_describes_a_model_comes_without_its_weights(hub, locate):
    done = locate("owner/name", weights=False)
    assert os.listdir(done.stdout) == ["config.json"]
    assert content(locate("owner/name")) == WEIGHTS


def test_pickles_only_where_there_are_no_safetensors(hub, locate):
    hub.publish("owner/old", {"config.json": CONFIG, "pytorch_model.bin": WEIGHTS})
    assert content(locate("owner/old"), "pytorch_model.bin") == WEIGHTS
    offline = locate("owner/old", HF_HUB_OFFLINE="1")
    assert content(offline, "pytorch_model.bin") == WEIGHTS


def test_one_gguf_file_by_its_name(hub, locate):
    hub.publish("owner/files", {"config.json": CONFIG, "a/x.Q8_0.gguf": b"GGUF", "y.gguf": b"y"})
    done = locate("owner/files/a/x.Q8_0.gguf")
    assert done.stdout.endswith("a/x.Q8_0.gguf")
    assert "y.gguf" not in hub.fetched()
    assert "has no file z.gguf" in refusal(locate("owner/files/z.gguf"))


def test_a_token_is_sent_and_never_shown(hub, locate):
    hub.token = "hf_" + "s" * 30
    for wrong in ({}, {"HF_TOKEN": "hf_wrongwrongwrong"}):
        message = refusal(locate("owner/name", **wrong))
        assert "no such model, or the model is private" in message
        assert "HF_TOKEN" in message
        assert "hf_wrong" not in message
    done = locate("owner/name", HF_TOKEN=hub.token)
    assert content(done) == WEIGHTS
    elsewhere = [headers for _, path, headers in hub.requests if path.startswith("/cdn/")]
    assert elsewhere
    assert not any("authorization" in headers for headers in elsewhere)
    assert hub.token not in done.stdout + done.stderr


def test_an_interrupted_download_resumes(hub, locate):
    # The library keeps whole pieces of 10 MiB.
    large = WEIGHTS * (24 * 2**20 // len(WEIGHTS))
    hub.publish("owner/name", {"config.json": CONFIG, "model.safetensors": large})
    hub.cut.add("model.safetensors")
    assert content(locate("owner/name")) == large
    spans = [headers.get("range") for _, path, headers in hub.requests if path.startswith("/cdn/")]
    assert spans[0] is None
    begun = int(spans[-1].removeprefix("bytes=").rstrip("-"))
    assert 0 < begun < len(large)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_damaged_download_is_noticed_and_repeated(hub, locate, name):
    hub.damaged.add(name)
    message = refusal(locate("owner/name"))
    assert f"{name} of owner/name arrived damaged" in message
    assert "not a folder here" not in message
    hub.damaged.clear()
    assert content(locate("owner/name"), name) == (WEIGHTS if "model" in name else CONFIG)


def test_what_could_not_be_checked_is_checked_the_next_time(hub, locate):
    hub.damaged.add("model.safetensors")
    hub.broken.add("paths-info")
    assert "the hub did not give it" in refusal(locate("owner/name"))
    assert "model.safetensors of owner/name arrived damaged" in refusal(locate("owner/name"))
    hub.damaged.clear()
    assert content(locate("owner/name")) == WEIGHTS


def test_no_hub_at_all(locate):
    message = refusal(locate("owner/name", HF_ENDPOINT="http://127.0.0.1:9"))
    assert message.startswith("owner/name is not a folder here, and the hub did not give it")


def test_local_models_go_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    assert our_hub.locate("owner/name").resolve() == folder
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert our_hub.locate("model.gguf").name == "model.gguf"
    with pytest.raises(LmwrightError, match="has no revision v1"):
        our_hub.locate("owner/name", revision="v1")
    with pytest.raises(LmwrightError, match="names a revision"):
        our_hub.locate("owner/other@v1", revision="v2")
