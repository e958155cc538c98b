"""The engine in a process of its own: killed, orphaned, swapped, and under load."""

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

import httpx
import pytest

from lmwright.serving.opening import EngineOptions
from lmwright.serving.processes import Starter

CHAT = "/v1/chat/completions"
# Importing torch on a machine that does much else.
PATIENCE = 120.0

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(run_folder, server_context):
    start = Starter(EngineOptions(model=str(run_folder), max_sequences=4, threads=1))
    with server_context(None, start=start, patience=PATIENCE) as server:
        yield server


def pid(server) -> int:
    return server.worker._supervisor.pid()


def metric(client, name: str) -> float:
    found = re.search(rf"^lmwright:{name}{{.*}} (\S+)$", client.get("/metrics").text, re.M)
    return float(found[1])


def alive(process_id: int) -> bool:
    try:
        with open(f"/proc/{process_id}/stat") as file:
            return file.read().split(")")[-1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def long(server, **fields) -> dict:
    """A request that goes on until the context ends."""
    return server.chat(max_tokens=900, temperature=1.0, ignore_eos=True, **fields)


def in_background(function, *arguments):
    results: list = []
    thread = threading.Thread(target=lambda: results.append(function(*arguments)), daemon=True)
    thread.start()
    return thread, results


def test_a_killed_engine_is_replaced(server, eventually):
    before = pid(server)
    with server.client() as client:
        requests = [
            in_background(lambda s=stream: client.post(CHAT, json=long(server, stream=s)))
            for stream in (True, False) * 4  # some of them wait for a place
        ]
        eventually(lambda: len(server.worker.in_flight) == len(requests))
        eventually(lambda: metric(client, "generation_tokens_total") > 20)
        os.kill(before, signal.SIGKILL)
        for thread, _ in requests:
            thread.join(10)
            assert not thread.is_alive(), "a request hangs"
        unready = client.get("/health/ready")
        eventually(lambda: client.get("/health/ready").status_code == 200, PATIENCE)
        answered = client.post(CHAT, json=server.chat(max_tokens=3))

    for number, (_, (response,)) in enumerate(requests):
        if number % 2:
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "engine_lost"
        else:
            last = response.text.strip().split("\n\n")[-1].removeprefix("data: ")
            assert json.loads(last)["error"]["code"] == "engine_lost"
    assert unready.status_code == 503
    assert int(unready.headers["retry-after"]) > 0
    assert answered.status_code == 200
    assert pid(server) != before
    assert not alive(before)


def test_500_hang_ups_leave_every_block_free(server, eventually):
    chance = random.Random(0)

    async def hang_up(client, places) -> None:
        lines = chance.randrange(1, 30)
        async with places, client.stream("POST", CHAT, json=long(server, stream=True)) as response:
            if response.status_code == 429:
                return
            async for _ in response.aiter_lines():
                lines -= 1
                if not lines:
                    return

    async def all_of_them() -> None:
        places = asyncio.Semaphore(12)
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            await asyncio.gather(*(hang_up(client, places) for _ in range(500)))

    with server.client() as client:
        client.post(CHAT, json=server.chat(max_tokens=1))
        asyncio.run(all_of_them())
        eventually(lambda: not server.worker.in_flight, 30)
        eventually(lambda: metric(client, "num_requests_running") == 0)
        eventually(lambda: metric(client, "kv_cache_usage_perc") == 0)
        assert metric(client, "num_requests_waiting") == 0
        assert client.post(CHAT, json=server.chat(max_tokens=3)).status_code == 200
    stats = server.worker._supervisor._current.stats
    assert stats["kv_blocks_total"] > 0
    assert (stats["running"], stats["waiting"], stats["kv_blocks_used"]) == (0, 0, 0)


def test_a_swap_between_processes_drops_nothing(server, run_folder, eventually):
    before = pid(server)
    statuses: list[tuple[int, bool]] = []
    over = threading.Event()

    def ask():
        with server.client() as client:
            while not over.is_set():
                body = server.chat(max_tokens=30, stream=True)
                response = client.post(CHAT, json=body)
                statuses.append(
                    (response.status_code, response.text.rstrip().endswith("data: [DONE]"))
                )

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    swap = server.worker.swap(str(run_folder / "model"))
    asyncio.run_coroutine_threadsafe(swap, server.server._loop).result(PATIENCE)
    after, count = pid(server), len(statuses)
    eventually(lambda: len(statuses) > count + 6, 30)
    over.set()
    for client in clients:
        client.join(30)

    assert set(statuses) == {(200, True)}
    assert after != before
    eventually(lambda: not alive(before), 30)


def command(run_folder, *arguments: str, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "lmwright", "serve", str(run_folder), "--port", "0", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        **options,
    )


def address(process: subprocess.Popen) -> str:
    for line in process.stdout:
        if found := re.search(r"http://\S+:\d+", line):
            return found[0]
    raise AssertionError("it ended before it was ready")


def engine_of(process: subprocess.Popen) -> int:
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
        (child,) = file.read().split()
    return int(child)


BODY = {"model": "tiny-run", "messages": [{"role": "user", "content": "Hi"}]}


def test_sigterm_under_load_lets_every_accepted_request_finish(run_folder):
    process = command(run_folder, "--drain", "60s", stdout=subprocess.PIPE, text=True)
    results: list = []
    try:
        url = address(process)

        def ask():
            with httpx.Client(base_url=url, timeout=60) as client:
                body = BODY | {"max_tokens": 300, "stream": True, "ignore_eos": True}
                response = client.post(CHAT, json=body)
                results.append((response.status_code, response.text))

        clients = [threading.Thread(target=ask) for _ in range(24)]
        for client in clients:
            client.start()
        deadline = time.monotonic() + 30
        while "num_requests_running" in (text := httpx.get(f"{url}/metrics").text):
            busy = re.findall(r"^lmwright:num_requests_(?:running|waiting){.*} (\S+)$", text, re.M)
            if sum(map(float, busy)) == 24:
                break
            assert time.monotonic() < deadline, busy
        process.send_signal(signal.SIGTERM)
        for client in clients:
            client.join(60)
        assert process.wait(60) == 0
    finally:
        process.kill()
    assert len(results) == 24
    assert all(status == 200 for status, _ in results)
    assert all(text.rstrip().endswith("data: [DONE]") for _, text in results)


def test_full_disks_for_all_output_do_not_take_the_server_down(run_folder):
    with open("/dev/full", "w") as full:
        from lmwright.serving import options

        with options.bind("127.0.0.1", 0) as listener:
            port = listener.getsockname()[1]
        process = command(run_folder, "--port", str(port), stdout=full, stderr=full)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if httpx.get(f"{url}/health/ready").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        for _ in range(5):
            assert httpx.post(url + CHAT, json=BODY | {"max_tokens": 3}).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()


def test_sighup_swaps_and_an_orphaned_engine_ends(run_folder, eventually):
    process = command(run_folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        url = address(process)
        engine = engine_of(process)
        process.send_signal(signal.SIGHUP)
        for line in process.stderr:
            if '"engine_ended"' in line:
                break
            assert httpx.post(url + CHAT, json=BODY | {"max_tokens": 3}).status_code == 200
        assert not alive(engine)
        second = engine_of(process)
        assert second != engine
        process.kill()
        eventually(lambda: not alive(second), 30)
    finally:
        process.kill()
        process.stdout.close()
        process.stderr.close()
