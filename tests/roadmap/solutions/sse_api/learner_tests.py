import asyncio
import json

from mine.sse_api import events

from lmwright.serving.chat_format import ChatFormat
from lmwright.serving.errors import ApiError
from lmwright.serving.pieces import Piece


class Answer:
    index = 0


class Reply:
    prompt_tokens, completion_tokens = 3, 2

    def __init__(self, *items):
        self.items, self.answers, self.closed, self.taken = items, [Answer()], False, 0

    async def pieces(self, patience):
        for item in self.items:
            self.taken += 1
            if isinstance(item, Exception):
                raise item
            yield None if item is None else (self.answers[0], item)

    def close(self):
        self.closed = True


END = Piece(ending="stop")


def listen(*items, usage=False, most=99):
    reply, found, told = Reply(*items), [], []

    async def run():
        write = ChatFormat("m", None, logprobs=False)
        stream = events(
            reply,
            write,
            include_usage=usage,
            ended=lambda error: told.append((len(found), error and error.status_code)),
        )
        async for event in stream:
            found.append((reply.taken, event))
            if len(found) == most:
                await stream.aclose()
                break

    try:
        asyncio.run(run())
    finally:
        assert reply.closed
    return found, told


def data(event):
    text = event.decode()
    assert text.startswith("data: ")
    assert text.endswith("\n\n")
    assert text.count("\n") == 2
    return json.loads(text[6:])


def test_a_whole_answer():
    found, told = listen(Piece(text="Hé\n\n🙂", token_id=1), Piece(token_id=2), END)
    (_, role), (_, text), (_, end), (_, done) = found
    assert data(role)["choices"][0]["delta"]["role"] == "assistant"
    assert data(text)["choices"][0]["delta"] == {"content": "Hé\n\n🙂"}
    assert data(end)["choices"][0]["finish_reason"] == "stop"
    assert done == b"data: [DONE]\n\n"
    assert told == [(4, None)]


def test_at_once():
    found, _ = listen(Piece(text="a", token_id=1), Piece(text="b", token_id=1), END)
    assert [taken for taken, _ in found] == [0, 1, 2, 3, 3]


def test_counts():
    found, _ = listen(END, usage=True)
    assert data(found[-2][1])["usage"]["total_tokens"] == 5
    assert found[-1][1] == b"data: [DONE]\n\n"
    assert len(found) == 4
    assert len(listen(END)[0]) == 3


def test_silence():
    found, _ = listen(None, END)
    assert found[1][1].startswith(b":")
    assert found[1][1].endswith(b"\n\n")


def test_error():
    found, told = listen(Piece(text="a", token_id=1), ApiError(503, "gone"))
    assert data(found[-1][1])["error"]["message"] == "gone"
    assert len(found) == 3
    assert told == [(2, 503)]


def test_hang_up():
    for most in (1, 2, 3):
        found, told = listen(Piece(text="a", token_id=1), END, most=most)
        assert len(found) == most
        assert told == []


def test_other_errors():
    try:
        listen(Piece(text="a", token_id=1), KeyError("bug"))
    except KeyError:
        pass
    else:
        raise AssertionError("hidden")
    try:
        listen(Piece(text="a", token_id=1), RuntimeError("bug"))
    except RuntimeError:
        return
    raise AssertionError("hidden")
