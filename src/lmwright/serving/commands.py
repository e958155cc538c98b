"""`lmwright serve`; nothing here loads torch or the web framework before the command runs."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmwright.core.errors import LmwrightError
from lmwright.serving.bench import commands as bench

if TYPE_CHECKING:
    from lmwright.pipeline.step import StepType

STEPS: "tuple[StepType, ...]" = ()


def register(app: typer.Typer) -> None:
    """Add this room's verbs to the command line."""
    app.command("serve")(serve)
    bench.register(app)


def serve(
    model: Annotated[
        str, typer.Argument(help="A run, a run folder, a model folder or a hub id.", metavar="RUN")
    ],
    port: Annotated[int, typer.Option(help="Port; 0 takes any that is free.")] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 opens the server to the network.")
    ] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Host name to answer to besides localhost; may be repeated."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="Origin of other pages that may use the API; may be repeated."),
    ] = None,
    api_key: Annotated[
        list[str] | None,
        typer.Option(help="Key that requests need; may be repeated. Better: LMWRIGHT_API_KEY."),
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(help="File of keys that requests need, one a line.")
    ] = None,
    key_rate: Annotated[
        int | None, typer.Option(min=1, help="Most requests of one key in a minute.")
    ] = None,
    key_concurrency: Annotated[
        int | None, typer.Option(min=1, help="Most requests of one key at once.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What API users call the model; default: the run's name.")
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FOLDER",
            help="LoRA adapter in PEFT's format, chosen as model NAME; may be repeated.",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Most answers generated at once.")] = 16,
    queue: Annotated[
        int, typer.Option(min=0, help="Most answers that wait; beyond them requests get 429.")
    ] = 64,
    queue_tokens: Annotated[
        int, typer.Option(min=1, help="Most prompt tokens that wait or run, over all requests.")
    ] = 65_536,
    request_timeout: Annotated[
        str, typer.Option(help="How long a request may take, its wait included.")
    ] = "10m",
    drain: Annotated[
        str, typer.Option(help="How long accepted requests may take after SIGTERM or Ctrl-C.")
    ] = "8s",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads that compute; default: one for each core.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="as_stored, fp32, bf16, int8, int4 or fp8; default: the engine's choice."
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, or cuda:1 for the second GPU; default: cpu.")
    ] = None,
    runner: Annotated[
        str | None, typer.Option(help="auto, native or portable; default: auto.")
    ] = None,
    kv_type: Annotated[
        str | None,
        typer.Option(
            help="How keys and values are kept: fp32, bf16, int8 or fp8; default: the engine's own."
        ),
    ] = None,
    kv_blocks: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Blocks of 16 tokens for keys and values; default: whole contexts for --batch "
            "answers, as far as a quarter of the free memory goes.",
        ),
    ] = None,
    prefix_caching: Annotated[
        bool, typer.Option(help="Compute a beginning that prompts share only once.")
    ] = True,
    draft: Annotated[
        str | None,
        typer.Option(
            metavar="ngram|RUN",
            help="Guess ahead: by what followed the same words before, or by a smaller model of "
            "the same vocabulary. Answers stay what they are.",
        ),
    ] = None,
    draft_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens guessed at a time; default: 4.")
    ] = None,
    admin_key: Annotated[
        str | None,
        typer.Option(
            help="Key for POST /admin/reload, which swaps the model; without it nobody may.",
            envvar="LMWRIGHT_ADMIN_KEY",
        ),
    ] = None,
    metrics_prefix: Annotated[
        str, typer.Option(help="Prefix of the metrics; `vllm` for dashboards made for vLLM.")
    ] = "lmwright",
    otlp_endpoint: Annotated[
        str | None,
        typer.Option(help="Collector to send traces to, such as http://localhost:4318."),
    ] = None,
) -> None:
    """Serve a model: an OpenAI-compatible API, and a page to chat with it.

    SIGHUP, or POST /admin/reload, swaps the model without dropping a request.

    Examples:

        lmwright serve quickstart --port 8000

    \b
        curl localhost:8000/v1/chat/completions --json '
          {"model": "quickstart", "messages": [{"role": "user", "content": "Hi"}]}'
    """
    from lmwright.serving import access, drafts, lines, options
    from lmwright.serving.limits import Limits
    from lmwright.serving.opening import EngineOptions
    from lmwright.serving.processes import Starter

    limits = Limits(
        waiting_requests=queue,
        waiting_tokens=queue_tokens,
        request_seconds=options.seconds("--request-timeout", request_timeout),
    )
    drain_seconds = options.seconds("--drain", drain)
    prefix = options.metrics_prefix(metrics_prefix)
    collector = None if otlp_endpoint is None else options.otlp_endpoint(otlp_endpoint)
    keys = access.api_keys(api_key or (), api_key_file, os.environ)
    if not keys and (key_rate or key_concurrency):
        raise LmwrightError(
            "--key-rate and --key-concurrency are limits of API keys, and there are none",
            hint="give --api-key-file, or set LMWRIGHT_API_KEY",
        )
    if admin_key:
        access.check_key(admin_key)
    origins = access.allowed_origins(allow_origin or ())
    public = options.public_name(model) if name is None else name
    engine = EngineOptions(
        model=model,
        max_sequences=batch,
        max_waiting=limits.most_in_engine(batch),
        threads=threads,
        device=device,
        weights=options.choice("--weights", weights, options.WEIGHTS),
        runner=options.choice("--runner", runner, options.RUNNERS),
        adapters=options.adapters(adapter or (), public),
        kv=options.choice("--kv-type", kv_type, options.KV_TYPES),
        kv_blocks=kv_blocks,
        prefix_caching=prefix_caching,
        draft=draft,
        draft_tokens=draft_tokens,
    )
    if draft is not None:
        drafts.check(draft, model)
    elif draft_tokens is not None:
        raise LmwrightError(
            "--draft-tokens says how far --draft guesses, and there is no --draft",
            hint=f"give one: --draft {drafts.NGRAM}",
        )
    starter = Starter(engine)
    listener = options.bind(host, port)
    lines.say(f"Loading {public} ...")
    # The engine process imports torch while this one imports the web framework.
    starter.start_early()
    from lmwright.serving import launch
    from lmwright.serving.app import Settings
    from lmwright.serving.guard import Hosts
    from lmwright.serving.keys import Keys
    from lmwright.serving.tracing import Tracing

    settings = Settings(
        name=public,
        hosts=Hosts(host, allow_host or ()),
        limits=limits,
        metrics_prefix=prefix,
        keys=Keys(keys, per_minute=key_rate, at_once=key_concurrency),
        admin=Keys([admin_key] if admin_key else []),
        origins=origins,
        tracing=None if collector is None else Tracing.to(collector),
    )
    raise typer.Exit(launch.serve(starter, settings, listener, drain=drain_seconds))
