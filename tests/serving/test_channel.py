"""Messages between processes: whole, in order, or not at all."""

import asyncio
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmwright.serving.channel import Channel, Closed, packed, pair, receive

MESSAGES = st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.floats(-1, 1)))


@settings(max_examples=30, deadline=None)
@given(messages=st.lists(MESSAGES, max_size=8), cut=st.integers(1, 50))
def test_messages_arrive_whole_however_the_bytes_are_cut(messages, cut):
    ours, theirs = pair()
    channel, data = Channel(theirs), b"".join(map(packed, messages))

    arrived = []
    for start in range(0, len(data), cut):
        ours.sendall(data[start : start + cut])
        arrived += channel.receive(wait=False)

    assert arrived == messages
    ours.close()
    with pytest.raises(Closed):
        channel.receive(wait=True)
    channel.close()


def test_what_was_sent_before_the_end_is_still_read():
    ours, theirs = pair()
    ours.sendall(packed({"a": 1}) + packed({"b": 2}) + packed({"c": 3})[:-1])
    ours.close()
    channel = Channel(theirs)
    assert channel.receive(wait=True) == [{"a": 1}, {"b": 2}]
    with pytest.raises(Closed):
        channel.receive(wait=True)
    channel.close()


def test_nothing_to_read_is_no_reason_to_wait():
    ours, theirs = pair()
    channel = Channel(theirs)
    assert channel.receive(wait=False) == []
    threading.Timer(0.05, lambda: ours.sendall(packed({"late": True}))).start()
    assert channel.receive(wait=True) == [{"late": True}]
    ours.close()
    channel.close()


def test_the_event_loop_reads_what_the_engine_sends_and_notices_its_end():
    ours, theirs = pair()
    large = {"values": list(range(200_000))}  # more than any buffer takes at once

    def engine():
        channel = Channel(theirs)
        channel.send(large)
        channel.send({"last": None})
        channel.close()

    async def read():
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        messages = [await receive(reader), await receive(reader)]
        with pytest.raises(Closed):
            await receive(reader)
        writer.close()
        return messages

    thread = threading.Thread(target=engine)
    thread.start()
    assert asyncio.run(read()) == [large, {"last": None}]
    thread.join()


def test_sending_to_nobody_is_told():
    ours, theirs = pair()
    ours.close()
    channel = Channel(theirs)
    with pytest.raises(Closed):
        channel.send({"a": 1})
    channel.close()
