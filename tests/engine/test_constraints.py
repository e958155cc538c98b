import gc
import io
import json
import re
import weakref

import pytest
import sentencepiece
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmwright import tokens
from lmwright.core.errors import LmwrightError
from lmwright.engine.constraints import _VOCABULARIES, BLANK_TOKENS, Grammar, Vocabulary
from lmwright.engine.params import Constraint, SamplingParams
from lmwright.engine.sampling import SamplingState, choose
from lmwright.tokens.tokenizer import train
from tests.engine.conftest import TEXT

LINES = [
    '{"name": "Ada", "age": 36, "tags": ["a", "b"], "ok": true}',
    "What does list.append do?  It adds [one] item: \\ and 12.5e3 or null, false.",
    TEXT,
]


@pytest.fixture(scope="module", params=["byte_level", "llama", "gemma"])
def vocabulary(request, tmp_path_factory):
    """The quickstart's kind of tokenizer, and SentencePiece's two kinds with bytes."""
    if request.param == "byte_level":
        return train(LINES * 4, vocab_size=420)
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 40),
        model_writer=out,
        model_type="bpe",
        vocab_size=420,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        add_dummy_prefix=request.param == "llama",
        num_threads=1,
        minloglevel=2,
    )
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "tokenizer.model").write_bytes(out.getvalue())
    return tokens.load(folder)


def write(tokenizer, constraint, seed, *, most=400, temperature=1.5, favour=()):
    """What a model writes whose scores are noise: the text, and whether it ended by itself."""
    params = SamplingParams(temperature=temperature, seed=seed, constraint=constraint)
    ends = frozenset({tokenizer.eos_token_id})
    matcher = Grammar.compile(constraint, tokenizer).matcher(end_ids=ends, most=most)
    state = SamplingState(params, (1,), end_ids=ends, matcher=matcher)
    generator = torch.Generator().manual_seed(seed)
    ids = []
    while len(ids) < most:
        logits = torch.randn(1, tokenizer.vocab_size, generator=generator)
        logits[:, list(favour)] += 20.0
        (choice,) = choose(logits, [state])
        state.advance(choice.token_id)
        if choice.token_id in ends:
            return tokenizer.decode(ids), True
        ids.append(choice.token_id)
    return tokenizer.decode(ids), False


def schemas():
    """Schemas of a small dialect that `valid` below knows as well."""
    names = st.sampled_from(["a", "name", "größe", "two words", 'quo"te'])
    leaves = st.one_of(
        st.builds(
            lambda low, extra: {"type": "string", "minLength": low, "maxLength": low + extra},
            st.integers(0, 3),
            st.integers(0, 9),
        ),
        st.just({"type": "string"}),
        st.builds(
            lambda low, extra: {"type": "integer", "minimum": low, "maximum": low + extra},
            st.integers(-200, 200),
            st.integers(0, 99),
        ),
        st.sampled_from([{"type": "number"}, {"type": "boolean"}, {"type": "null"}]),
        st.lists(st.sampled_from([1, "x", None, True, "日本"]), min_size=1, unique_by=repr).map(
            lambda values: {"enum": values}
        ),
    )
    return st.recursive(
        leaves, lambda inner: st.one_of(arrays(inner), objects(names, inner)), max_leaves=5
    )


def arrays(inner):
    return st.builds(
        lambda items, low, extra: {
            "type": "array",
            "items": items,
            "minItems": low,
            "maxItems": low + extra,
        },
        inner,
        st.integers(0, 2),
        st.integers(0, 3),
    )


def objects(names, inner):
    def build(properties, required):
        return {
            "type": "object",
            "properties": properties,
            "required": [name for name in properties if name in required],
            "additionalProperties": False,
        }

    return st.builds(build, st.dictionaries(names, inner, max_size=3), st.sets(names))


def valid(value, schema):
    """The dialect's meaning, by hand (JSON Schema 2020-12, validation)."""
    if "enum" in schema:
        return any(value == one and type(value) is type(one) for one in schema["enum"])
    kind = schema["type"]
    if kind == "string":
        return isinstance(value, str) and schema.get("minLength", 0) <= len(value) <= schema.get(
            "maxLength", 10**9
        )
    if kind == "integer":
        whole = (
            isinstance(value, int | float) and not isinstance(value, bool) and value == int(value)
        )
        return whole and schema["minimum"] <= value <= schema["maximum"]
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind in ("boolean", "null"):
        return isinstance(value, bool) if kind == "boolean" else value is None
    if kind == "array":
        fits = isinstance(value, list) and schema["minItems"] <= len(value) <= schema["maxItems"]
        return fits and all(valid(item, schema["items"]) for item in value)
    known = schema["properties"]
    return (
        isinstance(value, dict)
        and all(name in value for name in schema["required"])
        and all(name in known and valid(item, known[name]) for name, item in value.items())
    )


@settings(max_examples=60, deadline=None)
@given(schema=schemas(), seed=st.integers(0, 2**32), most=st.sampled_from([120, 400]))
def test_noise_becomes_a_value_of_the_schema(vocabulary, schema, seed, most):
    text, _ = write(vocabulary, Constraint("json_schema", json.dumps(schema)), seed, most=most)
    assert valid(json.loads(text), schema), text


@pytest.mark.parametrize("most", [48, 100, 300])
def test_noise_becomes_a_json_object_however_few_the_tokens(vocabulary, most):
    for seed in range(12):
        text, _ = write(vocabulary, Constraint("json_object"), seed, most=most)
        assert isinstance(json.loads(text), dict), text


def test_an_answer_that_would_open_brackets_for_ever_is_closed_in_time(vocabulary):
    opening = [i for i, text in vocabulary.token_bytes.items() if text in (b"[", b"{", b'"', b":")]
    for seed in range(8):
        text, _ = write(vocabulary, Constraint("json_object"), seed, most=150, favour=opening)
        assert isinstance(json.loads(text), dict), text


def test_formats_and_patterns_are_closed_in_time(vocabulary):
    schema = {
        "type": "object",
        "properties": {
            "mail": {"type": "string", "format": "email"},
            "day": {"type": "string", "format": "date"},
            "code": {"type": "string", "pattern": "^[a-z]{3,40}-[0-9]+$"},
        },
        "required": ["mail", "day", "code"],
    }
    for seed in range(6):
        text, _ = write(vocabulary, Constraint("json_schema", json.dumps(schema)), seed, most=160)
        value = json.loads(text)
        assert re.fullmatch(r"[^@]+@[^@]+", value["mail"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", value["day"])
        assert re.fullmatch("[a-z]{3,40}-[0-9]+", value["code"])


def test_white_space_is_bounded_where_a_model_would_write_nothing_else(vocabulary):
    blank = [i for i, text in vocabulary.token_bytes.items() if text and text.isspace()]
    for kind, text in [
        ("json_object", ""),
        ("json_schema", '{"type": "array", "items": {"type": "string"}, "minItems": 3}'),
        ("grammar", 'start: "a" "b"\n%ignore /\\s+/\n'),
        ("regex", "a\\s*b"),
    ]:
        answer, ended = write(vocabulary, Constraint(kind, text), 3, most=600, favour=blank)
        assert ended, (kind, answer)
        longest = max(map(len, vocabulary.token_bytes.values()))
        runs = [len(run) for run in re.findall(r"\s+", answer)]
        assert max(runs, default=0) <= max(25, BLANK_TOKENS * longest)
        if kind == "json_object":
            assert isinstance(json.loads(answer), dict)


def test_white_space_that_the_expression_demands_is_written(vocabulary):
    answer, ended = write(vocabulary, Constraint("regex", "a {40}b"), 1)
    assert ended
    assert answer == "a" + " " * 40 + "b"


@pytest.mark.parametrize(
    "expression", ["[0-9]{4}-[0-9]{2}", "(yes|no|größe)", "[a-c]{1,9}x?", "日本語!"]
)
def test_noise_matches_the_expression_as_a_whole(vocabulary, expression):
    for seed in range(10):
        text, ended = write(vocabulary, Constraint("regex", expression), seed)
        assert ended
        assert re.fullmatch(expression, text), text


def test_noise_is_of_the_grammar(vocabulary):
    grammar = """
        start: sum
        sum: product ("+" product)*
        product: NUMBER | "(" sum ")"
        NUMBER: /[0-9]{1,3}/
    """
    for seed in range(10):
        text, ended = write(vocabulary, Constraint("grammar", grammar), seed)
        if ended:
            leading_zeros = re.sub(r"\b0+(?=\d)", "", text)
            assert isinstance(eval(leading_zeros, {"__builtins__": {}}), int)
        assert re.fullmatch("[0-9+()]+", text)


def test_a_complete_grammar_leaves_the_end_alone(vocabulary):
    eos = vocabulary.eos_token_id
    matcher = Grammar.compile(Constraint("regex", "ab"), vocabulary).matcher(end_ids={eos, 1})
    for text in ("a", "b"):
        assert not matcher.mask[[eos, 1]].any()
        matcher.advance(next(i for i, b in vocabulary.token_bytes.items() if b == text.encode()))
    assert matcher.mask.nonzero()[:, 0].tolist() == sorted({eos, 1})
    matcher.advance(1)


def test_end_tokens_alone_end_an_answer_that_may_go_on(vocabulary):
    grammar = Grammar.compile(Constraint("regex", "a+"), vocabulary)
    matcher = grammar.matcher(end_ids={1})
    matcher.advance(next(i for i, b in vocabulary.token_bytes.items() if b == b"a"))
    assert matcher.mask[1]
    assert not matcher.mask[vocabulary.eos_token_id]


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("regex", "(a", "regular expression cannot be used: unclosed group"),
        ("grammar", "start: nothing", 'unknown name: "nothing"'),
        ("json_schema", '{"type": "blah"}', "Invalid type: blah"),
        ("json_schema", '{"type": "string", "format": "shoe-size"}', "Unknown format"),
        ("json_schema", '{"not": {}}', "Unimplemented keys"),
        ("json_schema", '{"type": "integer", "minimum": 3, "maximum": 2}', "nsatisfiable"),
    ],
)
def test_an_invalid_constraint_is_one_clear_line(vocabulary, kind, text, message):
    with pytest.raises(LmwrightError, match=message) as error:
        Grammar.compile(Constraint(kind, text), vocabulary)
    assert "\n" not in error.value.what
    assert len(error.value.what) < 300


def test_a_vocabulary_that_cannot_write_the_answer_says_so():
    words = train(LINES * 4, vocab_size=300, kind="unigram")
    with pytest.raises(LmwrightError, match="no token of the vocabulary can follow"):
        Grammar.compile(Constraint("regex", "Ж+"), words).matcher()


def test_a_token_that_was_not_allowed_is_refused(vocabulary):
    matcher = Grammar.compile(Constraint("regex", "[0-9]+"), vocabulary).matcher()
    letter = next(i for i, b in vocabulary.token_bytes.items() if b == b"x")
    with pytest.raises(LmwrightError, match="the constraint stopped"):
        matcher.advance(letter)


def test_answers_of_one_grammar_do_not_touch_each_other(vocabulary):
    constraint = Constraint("regex", "[ab]{3}")
    first = Grammar.compile(constraint, vocabulary).matcher()
    before = first.mask.clone()
    second = Grammar.compile(Constraint("regex", "[ab]{3}"), vocabulary).matcher()
    letter = int(second.mask.nonzero()[0])
    second.advance(letter)
    assert torch.equal(first.mask, before)


def test_a_vocabulary_is_read_once_and_forgotten_with_its_tokenizer():
    tokenizer = train(LINES * 4, vocab_size=300)
    first = Grammar.compile(Constraint("regex", "a"), tokenizer)
    assert Grammar.compile(Constraint("regex", "a"), tokenizer) is first
    gc.collect()
    known = len(_VOCABULARIES)
    kept = weakref.ref(_VOCABULARIES[tokenizer])
    assert isinstance(kept(), Vocabulary)
    del tokenizer, first
    gc.collect()
    assert len(_VOCABULARIES) == known - 1
    assert kept() is None
