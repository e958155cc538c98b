"""What tests read in the server's answers."""

import json

import httpx

CHAT = "/v1/chat/completions"


def refused(response: httpx.Response, status: int, **expected: object) -> dict:
    """The error object of a refusal, which has this status and these members."""
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    foreign = ("Input should", "Value error", "valid dictionary", "value that it cannot have")
    assert not any(words in error["message"] for words in foreign), error["message"]
    assert error | expected == error
    return error


def events(text: str) -> list[dict]:
    """The server-sent events of a whole stream."""
    blocks = text.strip().split("\n\n")
    assert blocks[-1] == "data: [DONE]"
    return [json.loads(block.removeprefix("data: ")) for block in blocks[:-1]]
