"""Server-sent events from bytes that arrive cut anywhere (WHATWG HTML, section 9.2.6)."""

_LINE_END = b"\n"


class EventParser:
    """Gathers the `data` of each event; other fields and comments mean nothing here.

    Lines may end with LF, CR LF or CR, and any of them may be cut in two by the network.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._begun = False

    def feed(self, chunk: bytes) -> list[str]:
        """The events that `chunk` completes, in order.

        Args:
            chunk: any number of bytes of the stream.

        Returns:
            The data of each completed event; bytes that are not UTF-8 become U+FFFD.
        """
        text = self._rest + chunk
        if not self._begun:
            text = text.removeprefix(b"\xef\xbb\xbf")  # one byte order mark may stand first
            if b"\xef\xbb\xbf".startswith(text):
                self._rest = text
                return []
            self._begun = True
        # A CR at the end may be half of a CR LF: it waits for what follows.
        held = text.endswith(b"\r")
        lines = _unified(text[:-1] if held else text).split(_LINE_END)
        self._rest = lines.pop() + (b"\r" if held else b"")
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: bytes) -> str | None:
        """Take in one line; the event's data if the line ends an event that has some."""
        if line:
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value.removeprefix(b" "))
            return None
        if not self._data:
            return None
        data, self._data = b"\n".join(self._data), []
        return data.decode("utf-8", errors="replace")


def _unified(text: bytes) -> bytes:
    if b"\r" not in text:
        return text
    return text.replace(b"\r\n", _LINE_END).replace(b"\r", _LINE_END)
