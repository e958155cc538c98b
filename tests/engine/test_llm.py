import json
import random
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers

from lmwright import engine, models
from lmwright.compression import weights
from lmwright.core.errors import LmwrightError
from lmwright.engine.llm import LLM, QueueFull
from lmwright.engine.params import Constraint, SamplingParams
from tests.engine.generations import TIE, reference_greedy, same_until_a_tie

SHAPES = {
    "tied": {},
    "untied": {"tie_word_embeddings": False},
    "one head each": {"num_key_value_heads": 4},
    "one key head": {"num_key_value_heads": 1},
    "sliding": {
        "model_type": "qwen3",
        "query_key_norm": True,
        "sliding_window": 5,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
}


@pytest.mark.parametrize("shape", SHAPES)
def test_greedy_equals_transformers(shape, tiny_model, tokenizer, random_prompts, tmp_path):
    model = tiny_model(seed=3, **SHAPES[shape])
    models.save(model, tmp_path / "model", tokenizer=tokenizer)
    reference = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    llm = LLM(tmp_path / "model", max_sequences=3, runner="portable")
    assert llm.describe().startswith("portable eager float32 on cpu")
    prompts = random_prompts(8, seed=4)

    ours = llm.generate(prompts, SamplingParams(max_tokens=24))

    ties = 0
    for prompt, completion in zip(prompts, ours, strict=True):
        expected, gaps = reference_greedy(reference, prompt, 24, llm.end_ids)
        ties += min(gaps) < TIE
        assert same_until_a_tie(completion.token_ids, expected, gaps)
    assert ties <= 2  # or the test says little


@pytest.mark.parametrize("task", ["sequence_classification", "backbone"])
def test_a_model_that_does_not_continue_text_is_refused(task, model, tokenizer, tmp_path):
    models.save(model, tmp_path / "decoder", tokenizer=tokenizer)
    other = models.load(tmp_path / "decoder", task=task)
    models.save(other, tmp_path / "other", tokenizer=tokenizer)
    with pytest.raises(LmwrightError, match="does not continue text"):
        LLM(tmp_path / "other")


def test_an_int8_folder_is_opened_and_answered_from(model, tokenizer, random_prompts, tmp_path):
    quantised = weights.quantize(model)
    weights.save(quantised, tmp_path / "int8", tokenizer=tokenizer)
    llm = LLM(tmp_path / "int8", max_sequences=4, runner="portable")
    for prompt, completion in zip(
        prompts := random_prompts(5, seed=1),
        llm.generate(prompts, SamplingParams(max_tokens=10, ignore_eos=True)),
        strict=True,
    ):
        # Without a cache: the whole text again for every token.
        ids = list(prompt)
        for token in completion.token_ids:
            best = llm.model(torch.tensor([ids])).logits[0, -1].topk(2)
            assert token == best.indices[0] or best.values[0] - best.values[1] < TIE
            ids.append(token)


def test_the_python_surface(model_folder):
    completion = engine.LLM(model_folder).generate(["str.upper"], engine.SamplingParams())[0]
    assert isinstance(completion, engine.Completion)
    assert completion.logprobs is None


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_answer_does_not_depend_on_the_rest_of_the_batch(
    model, tokenizer, random_prompts, temperature
):
    prompts = random_prompts(23, seed=5)
    params = [
        SamplingParams(
            max_tokens=3 + number % 17, temperature=temperature, top_k=number % 5 * 10, seed=number
        )
        for number in range(len(prompts))
    ]
    alone = [
        LLM.from_model(model, tokenizer, max_sequences=1).generate([prompt], p)[0]
        for prompt, p in zip(prompts, params, strict=True)
    ]
    for max_sequences in (2, 7, 23):
        llm = LLM.from_model(model, tokenizer, max_sequences=max_sequences)
        assert llm.generate(prompts, params) == alone


def test_the_same_seed_repeats_and_no_seed_does_not(llm):
    prompt, params = [5, 6, 7], SamplingParams(temperature=1.5, seed=11, max_tokens=40)
    first, second = llm.generate([prompt, prompt], params)
    assert first == second == llm.generate([prompt], params)[0]
    assert llm.generate([prompt], replace(params, seed=12))[0] != first
    fresh = llm.generate([prompt] * 2, replace(params, seed=None))
    assert fresh[0] != fresh[1]


def test_logprobs_are_the_models_own(model, llm):
    prompt = [5, 6, 7, 8]
    params = SamplingParams(max_tokens=12, logprobs=True, ignore_eos=True)
    sampled_params = replace(params, temperature=1.0, seed=1)
    for completion in llm.generate([prompt] * 2, [params, sampled_params]):
        ids = torch.tensor([prompt + completion.token_ids])
        with torch.no_grad():
            scores = model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        expected = scores.gather(1, ids[0, len(prompt) :, None])[:, 0]
        torch.testing.assert_close(
            torch.tensor(completion.logprobs), expected, atol=1e-4, rtol=0, check_dtype=False
        )


def test_streamed_pieces_join_to_the_text(llm, random_prompts):
    for number, prompt in enumerate(random_prompts(10, seed=6)):
        params = SamplingParams(max_tokens=40, temperature=1.2, seed=number, stop=(" r", "e", "🙂"))
        deltas = list(llm.stream(prompt, params))
        whole = llm.generate([prompt], params)[0]
        assert "".join(delta.text for delta in deltas) == whole.text
        assert [i for delta in deltas for i in delta.token_ids] == whole.token_ids
        assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
        assert deltas[-1].finish_reason == whole.finish_reason
        assert not any(stop in whole.text for stop in params.stop)


def test_text_without_stops_is_what_the_tokenizer_decodes(llm, tokenizer, random_prompts):
    params = SamplingParams(max_tokens=30, temperature=1.0, seed=1)
    for prompt in random_prompts(10, seed=7):
        whole = llm.generate([prompt], params)[0]
        streamed = "".join(delta.text for delta in llm.stream(prompt, params))
        assert whole.text == streamed == tokenizer.decode(whole.token_ids)


def test_a_stop_string_ends_the_answer_where_it_begins(llm, random_prompts):
    params = SamplingParams(max_tokens=40, ignore_eos=True)
    prompt = random_prompts(1, seed=8)[0]
    text = llm.generate([prompt], params)[0].text
    stop = text[7:10]

    stopped = llm.generate([prompt], replace(params, stop=(stop,)))[0]

    assert stopped.finish_reason == "stop"
    assert stopped.text == text[: text.index(stop)]


def test_end_tokens_end_the_answer_and_are_not_in_its_text(model, tokenizer, random_prompts):
    llm = LLM.from_model(model, tokenizer)
    assert {tokenizer.eos_token_id, tokenizer.end_of_turn_id} <= llm.end_ids
    prompts = random_prompts(30, seed=9)
    params = SamplingParams(max_tokens=60, temperature=1.5, seed=0)
    ended = [c for c in llm.generate(prompts, params) if c.finish_reason == "stop"]
    assert ended
    for completion in ended:
        assert completion.token_ids[-1] in llm.end_ids
        assert not llm.end_ids & set(completion.token_ids[:-1])
        assert completion.text == tokenizer.decode(completion.token_ids[:-1])


def test_the_end_tokens_of_generation_config_count(tiny_model, tokenizer, tmp_path):
    model = tiny_model(seed=3)
    models.save(model, tmp_path / "model", tokenizer=tokenizer)
    first = LLM(tmp_path / "model").generate([[5, 6]], SamplingParams())[0].token_ids[0]
    models.save(model, tmp_path / "ends", tokenizer=tokenizer, eos_token_id=[first, 2])

    completion = LLM(tmp_path / "ends").generate([[5, 6]], SamplingParams())[0]

    assert completion.token_ids == [first]
    assert completion.finish_reason == "stop"


def test_an_answer_ends_with_the_context(llm):
    prompt = [5] * (llm.context_length - 3)
    params = SamplingParams(max_tokens=50, ignore_eos=True)
    completion = llm.generate([prompt], params)[0]
    assert len(completion.token_ids) == 3
    assert completion.finish_reason == "length"


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([5] * 96, "96 tokens.*at most 96.*max_position_embeddings"),
        ("word " * 500, "max_position_embeddings"),
        ([], "empty"),
        ([5, 320], "vocabulary"),
        ([-1], "vocabulary"),
    ],
)
def test_prompts_that_cannot_be_answered_are_refused(llm, prompt, message):
    params = SamplingParams()
    for refuse in (
        lambda: llm.generate([[5, 6], prompt], params),
        lambda: llm.stream(prompt, params),
        lambda: llm.add(prompt, params),
    ):
        with pytest.raises(LmwrightError, match=message):
            refuse()
    assert not llm.has_work()


def test_prompts_and_parameters_must_match(llm):
    with pytest.raises(LmwrightError, match="2 prompts, but 1"):
        llm.generate([[5], [6]], [SamplingParams()])
    with pytest.raises(LmwrightError, match="list of prompts"):
        llm.generate("text", SamplingParams())


def test_nothing_to_generate_is_nothing(llm):
    assert llm.generate([], SamplingParams()) == []


def test_an_empty_text_begins_a_document(llm, tokenizer):
    params = SamplingParams(max_tokens=5)
    assert llm.generate([""], params) == llm.generate([[tokenizer.eos_token_id]], params)


def test_chat_answers_the_rendered_conversation(llm, tokenizer):
    messages = [{"role": "user", "content": "What does str.upper do?"}]
    params = SamplingParams(max_tokens=8)
    expected = llm.generate([tokenizer.encode_chat(messages)], params)
    assert llm.chat([messages], params) == expected


def test_live_weights_are_used_as_they_are_and_left_as_they_were(tiny_model, tokenizer):
    model = tiny_model(seed=1).train()
    model.layers[0].eval()  # a part that its owner keeps in evaluation mode
    modes = [module.training for module in model.modules()]
    llm = LLM.from_model(model, tokenizer)
    params = SamplingParams(max_tokens=10, temperature=1.0, ignore_eos=True)
    generators = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()

    before = llm.generate([[5, 6, 7]], replace(params, seed=1))
    with torch.no_grad():
        model.embed_tokens.weight.mul_(-1)
    after = llm.generate([[5, 6, 7]], replace(params, seed=1))

    assert before != after
    assert after == LLM.from_model(model, tokenizer).generate([[5, 6, 7]], replace(params, seed=1))
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert random.getstate() == generators[1]
    assert (np.random.get_state()[1] == generators[2]).all()
    # Training goes on: nothing that inference made takes part in the backward pass.
    model(torch.tensor([[1, 2, 3]])).logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_compiled_blocks_are_neither_compiled_anew_nor_undone(tiny_model, tokenizer):
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    model, plain = tiny_model(seed=1).train(), tiny_model(seed=1)
    for block in model.layers:
        block.compile(backend=backend)
    batch = torch.tensor([[1, 2, 3, 4]])
    model(batch)
    compilations = len(compiled)
    assert compilations > 0

    params = SamplingParams(max_tokens=8, ignore_eos=True)
    prompts = [[5], [6, 7, 8], [9, 10]]
    answers = LLM.from_model(model, tokenizer, max_sequences=2).generate(prompts, params)

    assert answers == LLM.from_model(plain, tokenizer, max_sequences=2).generate(prompts, params)
    model(batch)
    assert len(compiled) == compilations


def test_add_refuses_more_than_may_wait(model, tokenizer):
    llm = LLM.from_model(model, tokenizer, max_sequences=1, max_waiting=2)
    for _ in range(2):
        llm.add([5], SamplingParams())
    with pytest.raises(QueueFull):
        llm.add([5], SamplingParams())
    llm.step()  # one joins and leaves a place in the queue
    llm.add([5], SamplingParams())


def test_requests_of_step_and_of_generate_do_not_mix(llm):
    params = SamplingParams(max_tokens=6, ignore_eos=True)
    request = llm.add([5, 6], params)
    events = llm.step()
    whole = llm.generate([[5, 6]], params)[0]
    while llm.has_work():
        events += llm.step()
    assert {event.request_id for event in events} == {request}
    assert [event.token_id for event in events] == whole.token_ids


def test_what_one_call_read_is_known_to_the_next_where_weights_stay(model_folder, random_prompts):
    prompt = [*range(3, 43)]
    known, fresh = LLM(model_folder), LLM(model_folder, prefix_caching=False)
    params = SamplingParams(max_tokens=6, ignore_eos=True)
    expected = fresh.generate([prompt, [*prompt, 5]], params)
    assert fresh.stats().prefix_hit_tokens == 0

    assert known.generate([prompt], params) == expected[:1]
    assert known.generate([[*prompt, 5]], params) == expected[1:]
    assert known.stats().prefix_hit_tokens >= 32
    assert known.stats().kv_blocks_used == 0


def test_generate_stream_and_step_share_one_cache_and_mix_no_answers(model_folder):
    llm = LLM(model_folder, max_sequences=2)
    params = SamplingParams(max_tokens=8, ignore_eos=True)
    expected = [llm.generate([[5, number]], params)[0].token_ids for number in range(3)]

    request = llm.add([5, 0], params)
    stream = llm.stream([5, 1], params)
    pieces = [next(stream)]
    events = llm.step()
    whole = llm.generate([[5, 2]], params)[0]
    pieces += stream
    while llm.has_work():
        events += llm.step()

    assert {event.request_id for event in events} == {request}
    assert [event.token_id for event in events] == expected[0]
    assert [i for piece in pieces for i in piece.token_ids] == expected[1]
    assert whole.token_ids == expected[2]


def test_a_stream_that_nobody_reads_on_leaves_nothing_behind(model_folder):
    llm = LLM(model_folder)
    llm.stream([5, 6], SamplingParams())  # not even begun
    begun = llm.stream([5, 6], SamplingParams(max_tokens=50, ignore_eos=True))
    next(begun)
    assert llm.stats().kv_blocks_used == 1
    begun.close()
    assert llm.stats().kv_blocks_used == 0
    assert not llm.has_work()


def test_answers_are_the_same_where_blocks_run_out(model, tokenizer, random_prompts):
    prompts = random_prompts(6, seed=12)
    params = SamplingParams(max_tokens=30, temperature=1.0, seed=3, ignore_eos=True)
    expected = LLM.from_model(model, tokenizer).generate(prompts, params)
    few = LLM.from_model(model, tokenizer, kv_blocks=6, max_batch_tokens=20)
    assert few.context_length == 96
    assert few.generate(prompts, params) == expected


def test_a_cache_smaller_than_the_context_bounds_the_prompt(model, tokenizer):
    llm = LLM.from_model(model, tokenizer, kv_blocks=2)
    assert llm.context_length == 32
    with pytest.raises(LmwrightError, match="at most 32"):
        llm.generate([[5] * 32])
    completion = llm.generate([[5] * 20], SamplingParams(max_tokens=50, ignore_eos=True))[0]
    assert len(completion.token_ids) == 12


@pytest.mark.parametrize("bound", ["max_sequences", "max_batch_tokens", "kv_blocks", "most_drafts"])
def test_bounds_must_be_positive(bound, model, tokenizer):
    with pytest.raises(LmwrightError, match=f"{bound}=0"):
        LLM.from_model(model, tokenizer, **{bound: 0})


def test_a_requests_first_event_says_when_its_prompt_was_begun(model, tokenizer):
    llm = LLM.from_model(model, tokenizer, max_sequences=1)
    params = SamplingParams(max_tokens=3, ignore_eos=True)
    began, ids = time.monotonic(), [llm.add([5, 6], params) for _ in range(2)]
    told, ended = {i: [] for i in ids}, {}
    while llm.has_work():
        for event in llm.step():
            told[event.request_id].append(event.joined)
            ended[event.request_id] = time.monotonic()
    first, second = ids
    assert [joined is None for joined in told[first]] == [False, True, True]
    assert [joined is None for joined in told[second]] == [False, True, True]
    assert began <= told[first][0] < ended[first] <= told[second][0] < ended[second]


def test_add_refuses_more_tokens_than_may_wait(model, tokenizer):
    llm = LLM.from_model(model, tokenizer, max_sequences=1, max_waiting_tokens=10)
    llm.add([5] * 50, SamplingParams())  # alone it may be as long as the context allows
    with pytest.raises(QueueFull, match="50 tokens"):
        llm.add([5], SamplingParams())


def test_prompts_are_scored_by_the_model_alone(model, llm):
    prompt = [5, 6, 7, 8, 9]
    params = SamplingParams(max_tokens=0, prompt_logprobs=True, top_logprobs=2)
    completion = llm.generate([prompt], params)[0]
    with torch.no_grad():
        scores = model(torch.tensor([prompt])).logits[0].double().log_softmax(-1)
    assert completion.token_ids == []
    for place, (token, logprob, top) in enumerate(completion.prompt_logprobs):
        assert token == prompt[place + 1]
        assert logprob == pytest.approx(scores[place, token].item(), abs=1e-4)
        assert top[0][0] == scores[place].argmax().item()


def test_a_constraint_holds_and_an_unknown_adapter_is_refused(llm):
    params = SamplingParams(max_tokens=60, constraint=Constraint("json_object"))
    text = llm.generate([[5, 6]], params)[0].text
    assert isinstance(json.loads(text), dict)
    with pytest.raises(LmwrightError, match="no adapter named nobody"):
        llm.generate([[5]], SamplingParams(adapter="nobody"))


def test_a_request_whose_scores_are_not_numbers_leaves_later_ones_alone(tiny_model, tokenizer):
    model, poison = tiny_model(), 7
    with torch.no_grad():
        model.embed_tokens.weight[poison] = float("nan")
    # With tied weights the poison would be in every row's scores: this head is healthy.
    torch.manual_seed(0)
    model.lm_head = torch.nn.Linear(32, 320, bias=False)
    llm = LLM.from_model(model, tokenizer, max_sequences=4, kv_blocks=4)
    healthy = SamplingParams(max_tokens=8, temperature=1.0, top_k=1, ignore_eos=True)
    alone = llm.generate([[5, 6, 8]], healthy)[0]
    assert poison not in alone.token_ids

    requests = [llm.add([5] * 20 + [poison] * 10, SamplingParams())]
    events = []
    for _ in range(4):
        requests.append(llm.add([5, 6, 8], healthy))  # may get the blocks the poison was in
        while llm.has_work():
            events += llm.step()

    bad = [event for event in events if event.request_id == requests[0]]
    assert [event.finish_reason for event in bad] == ["error"]
    for request in requests[1:]:
        assert [e.token_id for e in events if e.request_id == request] == alone.token_ids


def test_beam_search_finds_the_answer_of_transformers(model_folder, random_prompts):
    reference = transformers.AutoModelForCausalLM.from_pretrained(model_folder)
    llm = LLM(model_folder)
    llm.end_ids = frozenset(range(0, 320, 5))  # many, so that answers of a random model do end
    reasons = set()
    for prompt in random_prompts(8, seed=6, longest=20):
        text = reference.generate(
            torch.tensor([prompt]),
            do_sample=False,
            num_beams=4,
            length_penalty=0.0,
            early_stopping=False,
            max_new_tokens=10,
            eos_token_id=sorted(llm.end_ids),
            pad_token_id=0,
        )
        answer = text[0, len(prompt) :].tolist()
        expected = [token for token in answer if token not in llm.end_ids]  # only the last may be

        found = llm.beam_search(prompt, beams=4, max_tokens=10)

        assert found.token_ids == expected
        assert found.text == llm.tokenizer.decode(expected)
        assert found.finish_reason == ("length" if len(expected) == 10 else "stop")
        reasons.add(found.finish_reason)
    assert "stop" in reasons
    # At most what the context leaves, as with `generate`.
    assert len(llm.beam_search([5] * 90, beams=2).token_ids) <= 6
    with pytest.raises(LmwrightError, match="at most"):
        llm.beam_search([5] * 96, beams=2)
