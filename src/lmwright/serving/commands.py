"""`lmwright serve`; nothing here loads torch or the web framework before the command runs."""

from typing import Annotated

import typer

from lmwright.pipeline.step import StepType

STEPS: tuple[StepType, ...] = ()


def register(app: typer.Typer) -> None:
    """Add this room's verbs to the command line."""
    app.command("serve")(serve)


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
    name: Annotated[
        str | None, typer.Option(help="What API users call the model; default: the run's name.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Most answers generated at once.")] = 16,
    queue: Annotated[
        int, typer.Option(min=0, help="Most answers that wait; beyond them requests get 429.")
    ] = 64,
    queue_tokens: Annotated[
        int, typer.Option(min=1, help="Most prompt tokens that wait or run, over all requests.")
    ] = 65_536,
    drain: Annotated[
        str, typer.Option(help="How long accepted requests may take after SIGTERM or Ctrl-C.")
    ] = "8s",
    metrics_prefix: Annotated[
        str, typer.Option(help="Prefix of the metrics; `vllm` for dashboards made for vLLM.")
    ] = "lmwright",
) -> None:
    """Serve a model: an OpenAI-compatible API, and a page to chat with it.

    Examples:

        lmwright serve quickstart --port 8000

        curl localhost:8000/v1/chat/completions --json
        '{"model": "quickstart", "messages": [{"role": "user", "content": "Hello"}]}'
    """
    from lmwright.serving import launch
    from lmwright.serving.app import Settings
    from lmwright.serving.guard import Hosts
    from lmwright.serving.limits import Limits

    drain_seconds = launch.seconds("--drain", drain)
    prefix = launch.metrics_prefix(metrics_prefix)
    listener = launch.bind(host, port)
    settings = Settings(
        name=launch.public_name(model) if name is None else name,
        hosts=Hosts(host, allow_host or ()),
        limits=Limits(waiting_requests=queue, waiting_tokens=queue_tokens),
        metrics_prefix=prefix,
    )
    status = launch.serve(model, settings, listener, batch=batch, drain_seconds=drain_seconds)
    raise typer.Exit(status)
