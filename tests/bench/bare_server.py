"""`python -m tests.bench.bare_server BODIES`: HTTP and nothing behind it, the yardstick for the Stripe sandbox.

Answers each request with the next body of a JSON list, in turn, and `GET /cpu` with the CPU seconds used so far. Prints
its address as one JSON line when it listens.
"""

import asyncio
import itertools
import json
import re
import sys
import time
from pathlib import Path

LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


class Bare(asyncio.Protocol):
    """One client that sends a request whole and waits for its answer."""

    def __init__(self, bodies: "itertools.cycle[bytes]") -> None:
        self._bodies = bodies
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not end or len(rest) < (int(length[1]) if length else 0):
            return
        self._buffer = b""
        is_cpu_asked = head.startswith(b"GET /cpu ")
        body = json.dumps(time.process_time()).encode() if is_cpu_asked else next(self._bodies)
        assert self._transport is not None
        self._transport.write(HEAD % len(body) + body)


async def serve(bodies: list[str]) -> None:
    turns = itertools.cycle([body.encode() for body in bodies])
    server = await asyncio.get_running_loop().create_server(lambda: Bare(turns), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(json.dumps({"address": f"http://{host}:{port}"}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(Path(sys.argv[1]).read_text())))
