"""lm-eval against our endpoint and against transformers, on the same weights.

Runs where lm_eval is installed (it is in the `test` extra).
"""

import json
import os

import pytest
import torch

from lmwright import models
from lmwright.engine.llm import LLM
from lmwright.serving.model import Loaded
from tests.serving.small import TEXT, small_model

TASK = """
task: local_choice
dataset_path: json
dataset_kwargs:
  data_files: {{test: "{file}"}}
  cache_dir: "{cache}"
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list:
  - metric: acc
  - metric: acc_norm
"""


@pytest.fixture(scope="module")
def lm_eval():
    if os.environ.get("CI") == "true":
        import lm_eval

        return lm_eval
    return pytest.importorskip("lm_eval")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    decoder, tokenizer = small_model(context=256)
    models.save(decoder, folder)
    tokenizer.save(folder)
    return folder


def questions(count: int):
    """Questions with three answers each, cut out of a text; which one is right is arbitrary."""
    random = torch.Generator().manual_seed(0)
    for number in range(count):
        places = torch.randint(0, len(TEXT) - 12, (4,), generator=random).tolist()
        yield {
            "question": TEXT[places[0] :][:30],
            "choices": [
                TEXT[place : place + 4 + 2 * rank] for rank, place in enumerate(places[1:])
            ],
            "answer": number % 3,
        }


@pytest.mark.slow
def test_a_task_gets_the_score_that_transformers_gives(
    lm_eval, folder, server_context, tmp_path, monkeypatch
):
    from lm_eval.tasks import TaskManager

    monkeypatch.setenv("OPENAI_API_KEY", "none")
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in questions(40)))
    (tmp_path / "task.yaml").write_text(TASK.format(file=file, cache=tmp_path / "cache"))
    tasks = TaskManager(include_path=str(tmp_path), include_defaults=False)

    def evaluate(kind: str, **arguments):
        found = lm_eval.simple_evaluate(
            model=kind, model_args=arguments, tasks=["local_choice"], task_manager=tasks
        )
        logprobs = [
            [response[0] for response in sample["filtered_resps"]]
            for sample in found["samples"]["local_choice"]
        ]
        greedy = [
            [response[1] for response in sample["filtered_resps"]]
            for sample in found["samples"]["local_choice"]
        ]
        scores = {k: v for k, v in found["results"]["local_choice"].items() if "acc" in k}
        return scores, torch.tensor(logprobs), greedy

    engine = LLM(folder, dtype=torch.float32, max_sequences=8)
    with server_context(lambda: Loaded(engine)) as server:
        ours = evaluate(
            "local-completions",
            base_url=f"{server.url}/v1/completions",
            model="tiny",
            tokenizer=str(folder),
            tokenizer_backend="huggingface",
            max_length=256,
            num_concurrent=1,
        )
    theirs = evaluate("hf", pretrained=str(folder), dtype="float32", device="cpu", batch_size=1)

    assert ours[0] == theirs[0]
    assert ours[2] == theirs[2], "which answers are the greedy ones"
    assert (ours[1] - theirs[1]).abs().max() < 1e-3
    assert 0 < ours[0]["acc,none"] < 1, "a score that tells something"
