"""Protocol buffers without a schema: the numbered fields of a message, as they lie in a file.

Source: "Encoding", protobuf.dev/programming-guides/encoding: a message is a run of records, each a
tag (field number and wire type) and a value. Reading a format of five fields needs no more.
"""

import struct
from collections.abc import Iterator
from typing import TypeAlias

Value: TypeAlias = int | bytes
"""A variable-length integer, or the bytes of anything else."""

_VARINT, _EIGHT_BYTES, _COUNTED, _FOUR_BYTES = 0, 1, 2, 5
# 64 bits in groups of 7: a longer run of continued bytes is no integer.
_LONGEST_VARINT = 10


def fields(message: bytes) -> Iterator[tuple[int, Value]]:
    """Number and value of each field of a message, in the file's order.

    Raises:
        ValueError: if the bytes are not a message, or end inside a field.
    """
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("a field has the number 0")
        if wire_type == _VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if wire_type == _COUNTED:
            size, place = _varint(message, place)
        elif wire_type in (_EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if wire_type == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"field {number} has the unknown wire type {wire_type}")
        if size > len(message) - place:
            raise ValueError(f"field {number} ends after the file")
        yield number, message[place : place + size]
        place += size


def as_message(value: Value) -> bytes:
    """A field that has to hold bytes: a text or a message.

    Raises:
        ValueError: if it is a number.
    """
    if isinstance(value, int):
        raise ValueError("a number stands where bytes belong")
    return value


def as_text(value: Value) -> str:
    """A field that has to hold UTF-8 text.

    Raises:
        ValueError: if it does not.
    """
    return as_message(value).decode("utf-8")


def as_integer(value: Value) -> int:
    """A field that has to hold a non-negative integer, an enumeration's value or a boolean.

    Raises:
        ValueError: if it holds bytes.
    """
    if isinstance(value, bytes):
        raise ValueError("bytes stand where a number belongs")
    return value


def as_float(value: Value) -> float:
    """A field that has to hold a 32-bit float.

    Raises:
        ValueError: if it does not.
    """
    data = as_message(value)
    if len(data) != 4:
        raise ValueError(f"{len(data)} bytes stand where a 32-bit float belongs")
    return float(struct.unpack("<f", data)[0])


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """The integer at `place`, seven bits a byte, and the place after it."""
    value = 0
    for count, byte in enumerate(message[place : place + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, place + count + 1
    raise ValueError("an integer ends after the file")
