"""What `lmwright inspect` tells of a config."""

import json

import pytest
from typer.testing import CliRunner

from lmwright.cli import make_app
from lmwright.core.errors import LmwrightError
from lmwright.models import accounting, inspection
from lmwright.models.config import TransformerConfig
from tests.models.test_accounting import ANY, SHAPES


@pytest.fixture
def config_file(tmp_path):
    config = TransformerConfig(**(ANY | {"max_position_embeddings": 64, "head_dim": 4}))
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config.to_hf()))
    return file


def run(*arguments):
    return CliRunner().invoke(make_app(), ["inspect", *map(str, arguments)])


def test_a_config_alone_is_told_and_drawn(config_file):
    shown = run(config_file)
    assert shown.exit_code == 0, shown.output
    for text in (
        "llama",
        "SwiGLU feed-forward of 20",
        "4 heads of 4 sharing 2",
        "x 3",
        "64 tokens",
    ):
        assert text in shown.output
    assert f"{accounting.parameters(inspection.read_config(str(config_file)))['total']:,}" in (
        shown.output
    )


def test_json_has_the_numbers(config_file):
    shown = run(config_file, "--json", "--context", 16)
    found = json.loads(shown.output)
    config = inspection.read_config(str(config_file))
    assert found["context"] == 16
    assert found["parameters"] == accounting.parameters(config)
    assert found["training_flops_per_token"] == accounting.flops_per_token(config, 16, True)
    assert found["kv_bytes_per_token"]["bfloat16"] == 2 * 2 * 3 * 2 * 4
    assert found["serving_bytes"]["float32"] == (
        4 * found["parameters"]["total"] + 16 * found["kv_bytes_per_token"]["float32"]
    )


@pytest.mark.parametrize("name", SHAPES)
def test_every_architecture_has_a_picture(name):
    picture = inspection.picture(TransformerConfig(**(ANY | SHAPES[name])))
    assert "embedding 50 x 16" in picture
    assert "attention" in picture
    lines = [line for line in picture.splitlines() if line.strip().startswith(("│", "┌", "└"))]
    assert lines
    assert all(line.strip()[-1] in "│┐┘" for line in lines)


def test_a_pattern_of_blocks_is_drawn_once():
    kinds = ("sliding_attention", "sliding_attention", "full_attention")
    config = TransformerConfig(
        **(ANY | {"num_hidden_layers": 6, "layer_types": kinds * 2, "sliding_window": 8})
    )
    picture = inspection.picture(config)
    assert picture.count("attention over 8") == 2
    assert "x 2" in picture


def test_what_is_no_model_is_named(tmp_path):
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(LmwrightError, match="not a JSON object"):
        inspection.read_config(str(tmp_path / "list.json"))
    with pytest.raises(LmwrightError, match="nowhere"):
        inspection.read_config(str(tmp_path / "nowhere"))


def test_what_came_before_attention_is_refused(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "text_cnn", "vocab_size": 100}))
    with pytest.raises(LmwrightError, match="is a text_cnn; only transformers"):
        inspection.read_config(str(path))
