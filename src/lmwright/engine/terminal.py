"""`lmwright chat`: questions from the keyboard or a script, answers as they are generated."""

import contextlib
import json
import os
import re
import sys
import unicodedata

from rich.console import Console

from lmwright.core.errors import LmwrightError
from lmwright.engine.conversation import Conversation

HELP = "/reset starts afresh, /quit leaves; Ctrl-C stops an answer, twice leaves"
NO_TEMPLATE = "this model has no chat template: it continues your text instead of answering"


def talk(conversation: Conversation, name: str) -> None:
    """Ask for questions and stream the answers until the person leaves or the input ends."""
    console = Console(highlight=False)
    typed = sys.stdin.isatty()
    if typed:
        _enable_line_editing()
        console.out(f"{name}: {HELP}", style="dim")
    if conversation.completes:
        console.out(NO_TEMPLATE, style="dim")
    interrupted = False
    while True:
        try:
            # Spaces are part of a text to be continued, not of a question.
            question = input("> " if typed else "")
        except EOFError:
            break
        except KeyboardInterrupt:
            if interrupted:
                break
            interrupted = True
            console.out("\nCtrl-C again leaves", style="dim")
            continue
        interrupted = False
        command = question.strip()
        if command == "/quit":
            break
        if command == "/reset":
            conversation.reset()
            console.out("the conversation starts afresh", style="dim")
        elif re.fullmatch("/[a-z]+", command):
            console.out(f"{command} is not a command; {HELP}", style="dim")
        elif command:
            interrupted = not _answer(conversation, question, console)
    if typed:
        console.out()


def print_answer(conversation: Conversation, question: str) -> None:
    """Stream the answer to one question to standard output, and nothing else there."""
    if conversation.completes:
        print(NO_TEMPLATE, file=sys.stderr)
    deltas = conversation.ask(question)
    clean = printable if sys.stdout.isatty() else str
    try:
        for delta in deltas:
            print(clean(delta.text), end="", flush=True)
        print(flush=True)
    except BrokenPipeError:
        # The reader has seen enough (`| head`): no traceback, also not when Python flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(conversation: Conversation, question: str) -> None:
    """Answer one question as one JSON object: text, token counts, finish reason."""
    ids = conversation.encode(question)
    deltas = list(conversation.ask(question))
    answer = {
        "text": "".join(delta.text for delta in deltas),
        "prompt_tokens": len(ids),
        "completion_tokens": sum(len(delta.token_ids) for delta in deltas),
        "finish_reason": deltas[-1].finish_reason,
    }
    print(json.dumps(answer, ensure_ascii=False))


def printable(text: str) -> str:
    """The text without control characters, with which it could rewrite the reader's terminal."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) != "Cc")


def _answer(conversation: Conversation, question: str, console: Console) -> bool:
    """Stream one answer; False if Ctrl-C stopped it."""
    try:
        forgotten = conversation.make_room(question)
        if forgotten:
            console.out(f"({forgotten} early exchanges no longer fit, forgotten)", style="dim")
        reason = None
        with contextlib.closing(conversation.ask(question)) as deltas:
            for delta in deltas:
                console.out(printable(delta.text), end="")
                reason = delta.finish_reason
        console.out()
        if reason == "length":
            console.out("(cut off: --max-tokens or the model's context ends here)", style="dim")
    except LmwrightError as error:
        # A question that is too long must not end the conversation.
        console.out(f"error: {error}", style="red")
    except KeyboardInterrupt:
        console.out("\n(stopped)", style="dim")
        return False
    return True


def _enable_line_editing() -> None:
    """Arrow keys and history in `input`, where the platform has them."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401
