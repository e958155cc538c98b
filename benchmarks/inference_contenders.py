"""The contenders of `inference_vs_peers`: ours and the peers, at the same work.

Each gets the same prompts of token ids and takes the likeliest token; clocks run inside the
processes that `inference_processes` gives them.
"""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

Setting = Mapping[str, Any]
KV_TYPES = ("bf16", "int8")
"""How ours may keep keys and values beside quantised weights; what int8 costs in bits per byte
stands among the results, too."""


@dataclass(frozen=True)
class Task:
    """Prompts to read, and tokens to write after each of them.

    Args:
        batch: prompts at once.
        prompt_tokens: length of each.
        new_tokens: written after each; the first one ends the reading.
        seed: of the prompts.
    """

    batch: int
    prompt_tokens: int
    new_tokens: int
    seed: int = 0

    def prompts(self, vocabulary: int) -> list[list[int]]:
        """Random ids; the first few, which are special, are left out."""
        draw = random.Random(self.seed)
        return [
            [draw.randrange(8, vocabulary) for _ in range(self.prompt_tokens)]
            for _ in range(self.batch)
        ]


@dataclass(frozen=True)
class Timing:
    """Seconds until every prompt had its first token, and from then to the last token of all."""

    prefill: float
    decode: float


class Contender(Protocol):
    """An engine with a model."""

    settings: Sequence[Setting]
    """What is worth trying; the benchmark takes the fastest for each kind of work."""

    def run(self, task: Task, setting: Setting) -> Timing:
        """Do the work once."""
        ...


@dataclass(frozen=True)
class Spec:
    """Which engine opens what.

    Args:
        engine: a key of `ENGINES`.
        path: model folder or file, as the engine wants it.
        vocabulary: V.
        threads: to compute with.
        options: of the engine, such as the format of the weights.
    """

    engine: str
    path: Path
    vocabulary: int
    threads: int
    options: Mapping[str, Any] = field(default_factory=dict)


class Ours:
    """lmwright's engine, driven step by step as its server drives it."""

    def __init__(self, spec: Spec) -> None:
        import torch

        torch.set_num_threads(spec.threads)
        self.spec = spec
        floats = spec.options["weights"] == "fp32"
        self.settings: Sequence[Setting] = [{"kv": k} for k in (("fp32",) if floats else KV_TYPES)]
        self._opened: dict[str, Any] = {}
        self._llm(self.settings[0]["kv"])

    def _llm(self, kv: str) -> Any:
        from lmwright.engine import LLM

        if kv not in self._opened:
            # The portable runner would keep the weights as stored, whatever is asked for.
            self._opened[kv] = LLM(
                self.spec.path,
                max_sequences=16,
                prefix_caching=False,
                runner="native",
                threads=self.spec.threads,
                kv=kv,
                **self.spec.options,
            )
        return self._opened[kv]

    def run(self, task: Task, setting: Setting) -> Timing:
        from lmwright.engine import SamplingParams

        llm = self._llm(setting["kv"])
        # Some sequences begin to answer while others are read: all can go on until all are timed.
        slack = 0 if task.batch == 1 else 4 * task.batch
        params = SamplingParams(max_tokens=task.new_tokens + slack, ignore_eos=True)
        prompts = task.prompts(self.spec.vocabulary)
        started = time.perf_counter()
        waiting = {llm.add(prompt, params) for prompt in prompts}
        requests = set(waiting)
        while waiting:
            waiting -= {event.request_id for event in llm.step(paced=False)}
        read = time.perf_counter()
        for _ in range(task.new_tokens - 1):
            assert len(llm.step()) == task.batch, "a sequence ended, or skipped a step"
        ended = time.perf_counter()
        for request in requests:
            llm.abort(request)
        while llm.has_work():
            llm.step()
        return Timing(read - started, ended - read)


class Transformers:
    """transformers' forward pass with its growing cache, without `generate`'s own overhead."""

    settings: Sequence[Setting] = tuple(
        {"dtype": dtype, "attention": attention}
        for dtype in ("float32", "bfloat16")
        for attention in ("sdpa", "eager")
    )

    def __init__(self, spec: Spec) -> None:
        import torch

        torch.set_num_threads(spec.threads)
        self.spec = spec
        if "dtype" in spec.options:
            self.settings = [s for s in self.settings if s["dtype"] == spec.options["dtype"]]
        self._opened: tuple[Setting, Any] | None = None

    def _model(self, setting: Setting) -> Any:
        if self._opened is None or self._opened[0] != setting:
            import torch
            import transformers

            transformers.logging.disable_progress_bar()
            self._opened = None
            model = transformers.AutoModelForCausalLM.from_pretrained(
                self.spec.path,
                dtype=getattr(torch, setting["dtype"]),
                attn_implementation=setting["attention"],
            )
            self._opened = (setting, model.eval())
        return self._opened[1]

    def run(self, task: Task, setting: Setting) -> Timing:
        import torch
        import transformers

        model = self._model(setting)
        ids = torch.tensor(task.prompts(self.spec.vocabulary))
        cache = transformers.DynamicCache(config=model.config)
        with torch.inference_mode():
            started = time.perf_counter()
            chosen = model(ids, cache=cache, logits_to_keep=1).logits[:, -1].argmax(-1)
            read = time.perf_counter()
            for _ in range(task.new_tokens - 1):
                chosen = model(chosen[:, None], cache=cache).logits[:, -1].argmax(-1)
            return Timing(read - started, time.perf_counter() - read)


class CTranslate2:
    """CTranslate2's generator."""

    settings: Sequence[Setting] = ({},)

    def __init__(self, spec: Spec) -> None:
        import ctranslate2

        self.spec = spec
        self.generator = ctranslate2.Generator(
            str(spec.path),
            device="cpu",
            inter_threads=1,
            intra_threads=spec.threads,
            **spec.options,
        )
        self.tokens = _ctranslate2_tokens(spec.path)

    def run(self, task: Task, setting: Setting) -> Timing:
        prompts = [[self.tokens[i] for i in ids] for ids in task.prompts(self.spec.vocabulary)]
        moments: list[float] = []
        started = time.perf_counter()
        self.generator.generate_batch(
            prompts,
            max_length=task.new_tokens,
            min_length=task.new_tokens,
            sampling_topk=1,
            include_prompt_in_result=False,
            # Called for every token of every sequence; what it returns is whether to stop.
            callback=lambda step: moments.append(time.perf_counter()),
        )
        ended = time.perf_counter()
        assert len(moments) == task.batch * task.new_tokens, "a sequence ended early"
        read = moments[task.batch - 1]
        return Timing(read - started, ended - read)


class LlamaCpp:
    """llama.cpp by its own batches (`llama_batch`): no Python of llama-cpp-python in between."""

    def __init__(self, spec: Spec) -> None:
        import llama_cpp

        self.lib, self.spec = llama_cpp, spec
        llama_cpp.llama_backend_init()
        llama_cpp.llama_log_set(_silenced(llama_cpp), None)
        parameters = llama_cpp.llama_model_default_params()
        parameters.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(str(spec.path).encode(), parameters)
        assert self.model, f"llama.cpp does not open {spec.path}"
        # Where there are many cores, one is better left to the rest of the system.
        threads = (spec.threads, spec.threads - 1) if spec.threads > 2 else (spec.threads,)
        self.settings: Sequence[Setting] = [
            {"flash_attention": flash, "threads": n, "micro_batch": micro, "unified": unified}
            for flash in (False, True)
            for n in threads
            for micro, unified in ((512, False), (512, True), (128, False))
        ]
        self._context: tuple[Any, Any] | None = None

    def run(self, task: Task, setting: Setting) -> Timing:
        import numpy as np

        lib, context = self.lib, self._opened(task.batch, setting)
        lib.llama_memory_clear(lib.llama_get_memory(context), True)
        prompts = np.array(task.prompts(self.spec.vocabulary))
        batch = lib.llama_batch_init(prompts.size, 0, 1)
        try:
            # One sequence after the other, its last token with logits.
            self._fill(batch, prompts, range(prompts.shape[1]), wanted=prompts.shape[1] - 1)
            started = time.perf_counter()
            chosen = self._decode(context, batch, task.batch, prompts.shape[1])
            read = time.perf_counter()
            for position in range(prompts.shape[1], prompts.shape[1] + task.new_tokens - 1):
                self._fill(batch, chosen, [position], wanted=0)
                chosen = self._decode(context, batch, task.batch, 1)
            return Timing(read - started, time.perf_counter() - read)
        finally:
            lib.llama_batch_free(batch)

    def _opened(self, sequences: int, setting: Setting) -> Any:
        key = (sequences, dict(setting))
        if self._context is not None and self._context[0] == key:
            return self._context[1]
        if self._context is not None:
            self.lib.llama_free(self._context[1])
        p = self.lib.llama_context_default_params()
        p.n_ctx = sequences * 1_024
        p.n_batch = sequences * 1_024
        p.n_ubatch = setting["micro_batch"]
        p.n_seq_max = sequences
        p.n_threads = p.n_threads_batch = setting["threads"]
        p.kv_unified = setting["unified"]
        p.flash_attn_type = int(setting["flash_attention"])  # 0 disabled, 1 enabled
        context = self.lib.llama_init_from_model(self.model, p)
        assert context, f"llama.cpp does not take {setting}"
        self._context = (key, context)
        return context

    def _fill(self, batch: Any, tokens: Any, positions: Sequence[int], *, wanted: int) -> None:
        count = 0
        for sequence, row in enumerate(tokens):
            for place, (token, position) in enumerate(zip(row, positions, strict=True)):
                batch.token[count] = int(token)
                batch.pos[count] = position
                batch.n_seq_id[count] = 1
                batch.seq_id[count][0] = sequence
                batch.logits[count] = place == wanted
                count += 1
        batch.n_tokens = count

    def _decode(self, context: Any, batch: Any, sequences: int, length: int) -> Any:
        import numpy as np

        status = self.lib.llama_decode(context, batch)
        assert status == 0, f"llama_decode: {status}"
        rows = [
            np.ctypeslib.as_array(
                self.lib.llama_get_logits_ith(context, (s + 1) * length - 1),
                (self.spec.vocabulary,),
            ).argmax()
            for s in range(sequences)
        ]
        return np.array(rows)[:, None]


class OpenVino:
    """openvino-genai's continuous batching over the GGUF file, which it reads without converters.

    Tried with the type of the cache that it chooses itself (bytes), and with float32.
    """

    settings: Sequence[Setting] = ({}, {"KV_CACHE_PRECISION": "f32"})

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._opened: tuple[Setting, Any] | None = None
        self._ids = iter(range(1 << 60))
        self._pipeline(self.settings[0])

    def _pipeline(self, setting: Setting) -> Any:
        if self._opened is None or self._opened[0] != setting:
            self._opened = None
            self._opened = (setting, open_openvino(self.spec.path, self.spec.threads, setting))
        return self._opened[1]

    def run(self, task: Task, setting: Setting) -> Timing:
        import numpy as np
        import openvino
        import openvino_genai

        pipeline = self._pipeline(setting)
        config = openvino_genai.GenerationConfig(
            max_new_tokens=task.new_tokens + 4 * task.batch, ignore_eos=True, do_sample=False
        )
        inputs = [
            openvino.Tensor(np.array([ids], np.int64)) for ids in task.prompts(self.spec.vocabulary)
        ]
        started = time.perf_counter()
        handles = [pipeline.add_request(next(self._ids), ids, config) for ids in inputs]
        waiting = list(handles)
        while waiting:
            pipeline.step()
            waiting = [handle for handle in waiting if not handle.can_read()]
        read = time.perf_counter()
        for _ in range(task.new_tokens - 1):
            pipeline.step()
        ended = time.perf_counter()
        for handle in handles:
            handle.stop()
        while pipeline.has_non_finished_requests():
            pipeline.step()
        return Timing(read - started, ended - read)


def open_openvino(path: Path, threads: int, setting: Setting) -> Any:
    """A continuous-batching pipeline of openvino-genai over a GGUF file."""
    import openvino_genai

    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = 2  # GB
    scheduler.max_num_seqs = 64
    scheduler.max_num_batched_tokens = 512
    scheduler.enable_prefix_caching = False
    properties = {"INFERENCE_NUM_THREADS": threads, **setting}
    return openvino_genai.ContinuousBatchingPipeline(str(path), scheduler, "CPU", properties)


ENGINES: Mapping[str, type[Any]] = {
    "lmwright": Ours,
    "transformers": Transformers,
    "ctranslate2": CTranslate2,
    "llama-cpp-python": LlamaCpp,
    "openvino-genai": OpenVino,
}
"""Name of the package -> its contender."""


def _ctranslate2_tokens(folder: Path) -> list[str]:
    """The converted model's tokens by id."""
    import json

    tokens: list[str] = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    return tokens


def _silenced(lib: Any) -> Any:
    """A log function that says nothing; kept alive, since C holds no reference to it."""
    global _silent
    _silent = lib.llama_log_callback(lambda level, text, data: None)
    return _silent


_silent: Any = None
