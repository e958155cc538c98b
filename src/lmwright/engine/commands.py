"""`lmwright chat`; nothing here loads torch before a command runs."""

from typing import Annotated

import typer

from lmwright.pipeline.step import StepType

STEPS: tuple[StepType, ...] = ()


def register(app: typer.Typer) -> None:
    """Add this room's verbs to the command line."""
    app.command("chat")(chat)


def chat(
    model: Annotated[
        str, typer.Argument(help="A run, a run folder, a model folder or a hub id.", metavar="RUN")
    ],
    prompt: Annotated[
        str | None, typer.Option(help="Answer this one text, print only the answer, and end.")
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="Instructions that stand before the conversation.")
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="0 takes the likeliest token; higher is more varied.")
    ] = 0.0,
    top_k: Annotated[int, typer.Option(help="Sample among the k likeliest tokens; 0: all.")] = 0,
    top_p: Annotated[
        float, typer.Option(help="Sample among the likeliest tokens that together reach p.")
    ] = 1.0,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answer.")] = None,
    max_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = 512,
    stop: Annotated[
        list[str] | None, typer.Option(help="End the answer before this text; may be repeated.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --prompt: one JSON object instead of the text.")
    ] = False,
) -> None:
    """Talk with a model in the terminal, or ask it one thing from a script.

    Examples:

        lmwright chat quickstart

        lmwright chat quickstart --prompt "What does str.upper do?"
    """
    from lmwright.core.errors import LmwrightError

    if as_json and prompt is None:
        raise LmwrightError("--json needs --prompt: it prints one answer as one JSON object")
    from lmwright.engine import terminal
    from lmwright.engine.conversation import Conversation
    from lmwright.engine.llm import LLM
    from lmwright.engine.sampling import SamplingParams

    params = SamplingParams(
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        stop=stop or (),
        seed=seed,
    )
    conversation = Conversation(LLM(model, max_sequences=1), params, system)
    if prompt is None:
        terminal.talk(conversation, name=model)
    elif as_json:
        terminal.print_json(conversation, prompt)
    else:
        terminal.print_answer(conversation, prompt)
