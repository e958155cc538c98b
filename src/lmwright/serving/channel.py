"""Messages between the API process and an engine process.

Each message is a JSON object behind its length (four bytes, network order), over a socketpair. JSON
and not pickle: what the other end sends can be looked at, and cannot run anything here.
"""

import json
import socket
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import StreamReader

Message = dict[str, Any]

_LENGTH = struct.Struct("!I")
_READ_BYTES = 256 * 1024
# The answers of one step are some kilobytes each; a socket's usual 200 kB would make the engine
# wait for the event loop whenever many log-probabilities of prompts are reported at once.
_BUFFER_BYTES = 4 * 2**20


class Closed(Exception):
    """The other end is gone."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a new connection."""
    ends = socket.socketpair()
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    return ends


def packed(message: Mapping[str, Any]) -> bytes:
    """A message as it travels."""
    content = json.dumps(message, separators=(",", ":")).encode()
    return _LENGTH.pack(len(content)) + content


async def receive(reader: "StreamReader") -> Message:
    """The next message.

    Raises:
        Closed: if the other end is gone; half a message is none.
    """
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        message: Message = json.loads(await reader.readexactly(length))
    except (EOFError, ConnectionError) as error:
        raise Closed from error
    return message


class Channel:
    """The engine's end: plain calls, no event loop.

    A send waits while the API process has not read what came before. That holds the engine back
    when the event loop cannot keep up with it; a client that does not read holds nobody back, for
    the event loop does not wait for clients.

    Args:
        end: one of `pair`.
    """

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(True)
        self._socket = end
        self._unread = bytearray()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message.

        Raises:
            Closed: if the other end is gone.
        """
        try:
            self._socket.sendall(packed(message))
        except OSError as error:
            raise Closed from error

    def receive(self, *, wait: bool) -> list[Message]:
        """Every message that has arrived whole.

        Args:
            wait: sleep until there is at least one.

        Raises:
            Closed: if the other end is gone and nothing is left to read.
        """
        messages: list[Message] = []
        while True:
            flags = 0 if wait and not messages else socket.MSG_DONTWAIT
            try:
                data = self._socket.recv(_READ_BYTES, flags)
            except BlockingIOError:
                return messages
            except OSError as error:
                raise Closed from error
            if not data:
                if messages:
                    return messages
                raise Closed
            self._unread += data
            messages += self._whole()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _whole(self) -> list[Message]:
        messages, start = [], 0
        while len(self._unread) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._unread, start)
            end = start + _LENGTH.size + length
            if len(self._unread) < end:
                break
            messages.append(json.loads(self._unread[start + _LENGTH.size : end]))
            start = end
        del self._unread[:start]
        return messages
