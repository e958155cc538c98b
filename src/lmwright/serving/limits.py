"""How much one server takes on: bounds with defaults that protect a small machine."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds on what is accepted; beyond them a request is refused at once, never queued.

    Args:
        waiting_requests: answers that may wait for a place in the batch, beyond those running.
        waiting_tokens: prompt tokens of all answers that wait or run; a promise about the time to
            the first token, which a count of requests alone does not give.
        body_bytes: size of a request's body.
        messages: turns of one conversation.
        answers: answers of one request (`n` times the number of prompts).
        retry_after: seconds told to a client that is refused because the server is full.
        request_seconds: how long a request may take, its wait included; None: for ever.
        unread_pieces: tokens that a stream's reader may lie behind, beyond the several thousand
            that the system's buffers hold; a reader who lies further behind is cut off.
    """

    waiting_requests: int = 64
    waiting_tokens: int = 65_536
    body_bytes: int = 1_000_000
    messages: int = 256
    answers: int = 16
    retry_after: int = 1
    request_seconds: float | None = None
    unread_pieces: int = 1_024

    def most_in_engine(self, batch: int) -> int:
        """Most answers that an engine which generates `batch` at once is ever given."""
        return max(batch + self.waiting_requests, self.answers)
