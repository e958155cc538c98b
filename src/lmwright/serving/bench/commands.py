"""`lmwright bench serve`; loads neither torch nor numpy before the command runs."""

from pathlib import Path
from typing import Annotated

import typer

from lmwright.serving.options import seconds


def register(app: typer.Typer) -> None:
    """Add the verb group `bench` to the command line."""
    group = typer.Typer(
        help="Measure what is served.\n\nExample: lmwright bench serve http://127.0.0.1:8000",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.callback()(_group)
    group.command("serve")(serve)
    app.add_typer(group, name="bench")


def _group() -> None:
    """Keep `serve` a word of its own, where one command alone would take the group's place."""


def serve(
    url: Annotated[str, typer.Argument(help="Of any server with an OpenAI-compatible API.")],
    model: Annotated[
        str | None, typer.Option(help="The model's name there; default: the first it lists.")
    ] = None,
    api: Annotated[str, typer.Option(help="chat or completions.")] = "chat",
    clients: Annotated[
        int, typer.Option(min=1, help="Closed loop: so many clients, each waiting for its answer.")
    ] = 8,
    rate: Annotated[
        float | None,
        typer.Option(help="Open loop instead: requests per second, arriving at random (Poisson)."),
    ] = None,
    requests: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
    duration: Annotated[
        str | None, typer.Option(help="End after this time; default 30s without --requests.")
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help='JSON Lines of {"messages": ...} or {"text": ...}; default: pieces of '
            "Python's documentation."
        ),
    ] = None,
    prompt_characters: Annotated[
        str, typer.Option(help="Lengths of the pieces of documentation.")
    ] = "60-600",
    max_tokens: Annotated[str, typer.Option(help="Lengths of the answers.")] = "16-128",
    temperature: Annotated[float, typer.Option(help="Of every request.")] = 0.0,
    warm_up: Annotated[int, typer.Option(min=0, help="Requests before, not counted.")] = 8,
    target_ttft: Annotated[
        str | None, typer.Option(help="Goodput counts requests whose first token takes at most so.")
    ] = None,
    target_itl: Annotated[
        str | None, typer.Option(help="... and whose tokens take at most so on average.")
    ] = None,
    target_e2e: Annotated[
        str | None, typer.Option(help="... and that are finished within this time.")
    ] = None,
    timeout: Annotated[str, typer.Option(help="Longest time of one request.")] = "5m",
    api_key: Annotated[
        str | None, typer.Option(envvar="OPENAI_API_KEY", help="Sent as a bearer token.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the prompts drawn and of the arrivals.")] = 0,
    output: Annotated[Path, typer.Option(help="Folder for results.json and latency.png.")] = Path(
        "bench_serve"
    ),
) -> None:
    """Put a load on a server and print latencies, throughput, errors and goodput.

    Examples:

        lmwright bench serve http://127.0.0.1:8000 --clients 16 --duration 1m

        lmwright bench serve http://127.0.0.1:8000 --rate 4 --requests 200
        --target-ttft 500ms --target-itl 50ms --prompts chats.jsonl
    """
    from lmwright.core.errors import LmwrightError
    from lmwright.serving.bench import report
    from lmwright.serving.bench.load import Load
    from lmwright.serving.bench.measure import measure
    from lmwright.serving.bench.outcomes import Targets
    from lmwright.serving.bench.progress import printed
    from lmwright.serving.bench.prompts import Span, documentation, read

    if api not in ("chat", "completions"):
        raise LmwrightError(f"--api {api}: it must be chat or completions")
    answers = Span.parse("--max-tokens", max_tokens)
    if prompts is not None:
        asked = read(prompts, answers, seed=seed)
    else:
        pieces = Span.parse("--prompt-characters", prompt_characters)
        asked = documentation(1_000, pieces, answers, seed=seed, chat=api == "chat")
    if duration is None and requests is None:
        duration = "30s"
    measured = measure(
        url,
        asked,
        Load(clients, rate, requests, _optional_seconds("--duration", duration), seed),
        model=model,
        api="chat" if api == "chat" else "completions",
        api_key=api_key,
        fields={"temperature": temperature},
        warm_up=warm_up,
        timeout=seconds("--timeout", timeout),
        targets=Targets(
            _optional_seconds("--target-ttft", target_ttft),
            _optional_seconds("--target-itl", target_itl),
            _optional_seconds("--target-e2e", target_e2e),
        ),
        progress=printed(),
    )
    report.show(measured)
    for path in report.write(measured, output):
        print(f"written: {path}")


def _optional_seconds(option: str, text: str | None) -> float | None:
    return None if text is None else seconds(option, text)
