"""`python -m tests.bench.senders FILE`: sends what a file holds, each time the same way, and says how long it took.

A process of its own, so that it takes no time from the server's interpreter. Says "ready" when it is connected, begins
when it reads a line, and answers with one JSON line: its own CPU seconds, and each answer that is not what it wants.
"""

import json
import os
import pickle
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psycopg

Row = tuple[str, str, str, str, str, str, str, str, str]
"""event_time, received_at, key, digest, source, id, type, subject, data."""

UNNEST = """
WITH sent AS (
    SELECT * FROM unnest(%s::timestamptz[], %s::timestamptz[], %s::uuid[], %s::uuid[],
                         %s::text[], %s::text[], %s::text[], %s::text[], %s::jsonb[])
           AS sent (event_time, received_at, key, digest, source, event_id, event_type, customer_key, data)
), won AS (
    INSERT INTO metering_event_key (key, event_time, digest) SELECT key, event_time, digest FROM sent
        ON CONFLICT (key) DO NOTHING RETURNING key
)
INSERT INTO metering_event (event_time, received_at, key, source, event_id, event_type, customer_key, data)
SELECT event_time, received_at, key, source, event_id, event_type, customer_key, data FROM sent JOIN won USING (key)
"""
COPY_KEYS = "COPY metering_event_key (key, event_time, digest) FROM STDIN"
COPY_EVENTS = (
    "COPY metering_event (event_time, received_at, key, source, event_id, event_type, customer_key, data) FROM STDIN"
)


class Shipment(NamedTuple):
    """What one process sends: `kind` is unnest, copy or http; each connection takes the next batch when it is free."""

    kind: str
    address: str
    batches: list[object]
    connections: int = 1
    wanted: bytes = b""
    """What each answer must hold (http)."""


def literals(rows: Sequence[Row]) -> list[str]:
    """The rows as nine array literals: the cheapest way to give a statement many rows that is not COPY."""
    columns = list(zip(*rows, strict=True))
    data = ",".join('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in columns[8])
    return [*(f"{{{','.join(column)}}}" for column in columns[:8]), f"{{{data}}}"]


def copy_blocks(rows: Sequence[Row]) -> tuple[bytes, bytes]:
    """The rows as the two blocks that COPY reads, in its text form."""
    keys = "".join([f"{row[2]}\t{row[0]}\t{row[3]}\n" for row in rows])
    events = "".join(
        [
            f"{time}\t{received}\t{key}\t{source}\t{event_id}\t{kind}\t{subject}\t{data}\n"
            for time, received, key, _, source, event_id, kind, subject, data in rows
        ]
    )
    return keys.encode(), events.replace("\\", "\\\\").encode()


def _sql_sender(shipment: Shipment, batches: Iterator[object]) -> Callable[[], None]:
    """Rows are made into literals or blocks while the clock runs, unless they already are."""
    connection = psycopg.connect(shipment.address)

    def unnest(batch: object) -> None:
        made = batch if isinstance(batch[0], str) else literals(batch)  # type: ignore[index, arg-type]
        connection.execute(UNNEST, made)  # type: ignore[call-overload]

    def copy(batch: object) -> None:
        keys, events = batch if isinstance(batch, tuple) else copy_blocks(batch)  # type: ignore[arg-type]
        for statement, block in ((COPY_KEYS, keys), (COPY_EVENTS, events)):
            with connection.cursor().copy(statement) as stream:
                stream.write(block)

    write = unnest if shipment.kind == "unnest" else copy

    def send() -> None:
        for batch in batches:
            write(batch)
            connection.commit()

    return send


def _http_sender(shipment: Shipment, batches: Iterator[object]) -> Callable[[], None]:
    host, port = shipment.address.split(":")
    connection = socket.create_connection((host, int(port)), timeout=120)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send() -> None:
        for request in batches:
            connection.sendall(request)  # type: ignore[arg-type]
            answer = _read_answer(connection)
            if shipment.wanted not in answer:
                raise AssertionError(f"not the answer that was wanted: {answer[-500:]!r}")

    return send


def _read_answer(connection: socket.socket) -> bytes:
    answer = connection.recv(65536)
    while answer:
        head, end, rest = answer.partition(b"\r\n\r\n")
        if end:
            (length,) = [int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length:" in line]
            if len(rest) >= length:
                return answer
        more = connection.recv(65536)
        if not more:
            break
        answer += more
    raise AssertionError(f"the server closed the connection after {answer[-500:]!r}")


def main(path: Path) -> None:
    shipment = Shipment(*pickle.loads(path.read_bytes()))
    make = _http_sender if shipment.kind == "http" else _sql_sender
    batches = iter(shipment.batches)  # shared: a list's iterator gives each thread another one
    sends = [make(shipment, batches) for _ in range(shipment.connections)]
    errors: list[str] = []

    def run(send: Callable[[], None]) -> None:
        try:
            send()
        except (
            OSError,
            AssertionError,
            psycopg.Error,
        ) as error:
            errors.append(repr(error))  # told below: a figure of a run that failed does not count

    threads = [threading.Thread(target=run, args=[send]) for send in sends]
    print("ready", flush=True)
    sys.stdin.readline()
    used = time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"cpu": time.process_time() - used, "errors": errors}), flush=True)
    os._exit(0)  # no time for tidying: the round is over


if __name__ == "__main__":
    main(Path(sys.argv[1]))
