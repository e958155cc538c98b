import json
import subprocess
import sys

import pytest

from lmwright.core.errors import LmwrightError
from lmwright.engine.params import Constraint, SamplingParams

EVERYTHING = SamplingParams(
    max_tokens=7,
    temperature=0.5,
    top_k=3,
    top_p=0.9,
    stop=("a", "b"),
    seed=5,
    logprobs=True,
    min_p=0.1,
    repetition_penalty=1.2,
    presence_penalty=-1.0,
    frequency_penalty=2.0,
    logit_bias={17: -100.0, 3: 1.5},
    top_logprobs=4,
    prompt_logprobs=True,
    min_tokens=2,
    stop_token_ids=(1, 2),
    priority=-3,
    adapter="poems",
    constraint=Constraint("regex", "[0-9]+"),
)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 0},
        {"max_tokens": 1.5},
        {"max_tokens": True},
        {"max_tokens": -1, "prompt_logprobs": True},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": "hot"},
        {"temperature": 10**400},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"stop": ("a", "")},
        {"stop": ""},
        {"stop": (7,)},
        {"seed": "today"},
        {"min_p": -0.1},
        {"min_p": 1.01},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": float("inf")},
        {"presence_penalty": 2.1},
        {"frequency_penalty": -2.1},
        {"frequency_penalty": float("nan")},
        {"logit_bias": {3: 101}},
        {"logit_bias": {-3: 1.0}},
        {"logit_bias": {"3": 1.0}},
        {"top_logprobs": -1},
        {"top_logprobs": 3},
        {"min_tokens": -1},
        {"min_tokens": 11, "max_tokens": 10},
        {"stop_token_ids": (-1,)},
        {"priority": 0.5},
        {"adapter": ""},
        {"constraint": "json"},
        {"ignore_eos": True, "constraint": Constraint("json_object")},
    ],
)
def test_values_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(LmwrightError, match=next(iter(wrong))):
        SamplingParams(**wrong)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("yaml", "a", "json_object, json_schema, regex, grammar"),
        ("json_object", "{}", "takes no text"),
        ("regex", "", "needs a text"),
        ("json_schema", "{", "not JSON"),
        ("json_schema", "[]", "JSON object"),
    ],
)
def test_constraints_that_cannot_be_are_refused(kind, text, message):
    with pytest.raises(LmwrightError, match=message):
        Constraint(kind, text)


def test_one_stop_string_is_one_stop_string():
    assert SamplingParams(stop="###").stop == ("###",)


def test_scoring_a_prompt_alone_needs_no_tokens():
    assert SamplingParams(max_tokens=0, prompt_logprobs=True).max_tokens == 0


def test_what_goes_through_json_comes_back_equal():
    for params in (
        EVERYTHING,
        SamplingParams(),
        SamplingParams(constraint=Constraint("json_object")),
    ):
        back = SamplingParams.from_json(json.loads(json.dumps(params.to_json())))
        assert back == params
        assert hash(back) == hash(params)
    assert SamplingParams().to_json() == {}
    unmentioned = {"ignore_eos"}  # it and a constraint exclude each other
    assert EVERYTHING.to_json().keys() == SamplingParams.__dataclass_fields__.keys() - unmentioned


def test_an_unknown_name_is_refused():
    with pytest.raises(LmwrightError, match="temprature is not"):
        SamplingParams.from_json({"temprature": 1.0})


def test_tokens_outside_of_a_vocabulary_are_refused():
    EVERYTHING.check_vocabulary(18)
    with pytest.raises(LmwrightError, match="logit_bias names token 17"):
        EVERYTHING.check_vocabulary(17)


def test_torch_is_not_imported():
    script = "import sys, lmwright.engine.params; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
