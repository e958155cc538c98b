"""The runs on real data that several labs' proofs share."""

import pytest

from lmwright import tokens
from lmwright.core.errors import LmwrightError
from lmwright.roadmap import proofs
from tests.models.test_llama2c import run_c
from tests.real_data import real_data_folder


@pytest.mark.slow
def test_the_story_is_that_of_an_independent_reader():
    source = real_data_folder() / "stories260K" / "stories260K.bin"
    prompt = [1, *tokens.load(source.parent).encode(proofs.PROMPT)]
    story = list(proofs._STORY)

    logits = run_c(source.read_bytes(), (prompt + story)[:-1])[len(prompt) - 1 :]

    best = logits.topk(2).values
    assert logits.argmax(-1).tolist() == story
    assert (best[:, 0] - best[:, 1]).min() > 1e-3  # no tie that rounding could turn


@pytest.mark.slow
def test_production_tells_the_story():
    real_data_folder()
    found = proofs.story_tokens()
    assert found["different_tokens"] == 0
    assert found["tokens"] == 200
    assert "little girl named Lily" in found["story"]


def test_missing_data_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("LMWRIGHT_DATA", str(tmp_path))
    with pytest.raises(LmwrightError, match="stories260K"):
        proofs.story_tokens()
