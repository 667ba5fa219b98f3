"""What the demo's senders send, and that they go on sending when they are turned away."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice

import pytest

from config.demo import traffic
from config.demo.month import parse_month
from config.demo.traffic import Traffic, TrafficFailed, batches, mistakes
from config.demo.usage import UsageProfile, usage_of

OCTOBER = parse_month("2026-10")
PROFILE = UsageProfile("team-0001", "Europe/Berlin", 3_000, ("a", "b"), 0.2, 24_000)
EVENTS = list(islice(usage_of(PROFILE, OCTOBER, 1), 2_500))


def key(event: dict) -> tuple[str, str]:
    return event["source"], event["id"]


class TestBatches:
    def test_every_event_is_sent_and_some_twice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(traffic, "REPEAT_ONE_IN", 2)

        sent = list(batches(iter(EVENTS)))

        keys = [key(event) for batch in sent for event in batch]
        assert {key(event) for event in EVENTS} < set(keys)
        # Batches 1 and 3 of 3 a second time, three stragglers with batches 2 and 3, one event that cannot be counted.
        assert len(keys) == 2_500 + 1_000 + 500 + 6 + 1

    def test_the_last_batch_holds_one_event_that_cannot_be_counted(self) -> None:
        *others, last = batches(iter(EVENTS))

        assert [event["data"]["input_tokens"] < 0 for event in last].count(True) == 1
        assert all(event["data"]["input_tokens"] >= 0 for batch in others for event in batch)

    def test_no_events_make_no_batch(self) -> None:
        assert list(batches(iter([]))) == []


class TestMistakes:
    def test_conflicts_keep_the_id_and_change_the_body(self) -> None:
        contradicting = mistakes(EVENTS)[: traffic.CONFLICTS]

        for event, original in zip(contradicting, EVENTS, strict=False):
            assert key(event) == key(original)
            assert event["data"] != original["data"]

    def test_strangers_are_new_events_of_unknown_customers(self) -> None:
        strangers = mistakes(EVENTS)[traffic.CONFLICTS :]

        assert len(strangers) == traffic.STRANGERS
        assert {event["subject"] for event in strangers}.isdisjoint({PROFILE.customer_key})
        assert {key(event) for event in strangers}.isdisjoint({key(event) for event in EVENTS})


@contextmanager
def endpoint(statuses: list[int]) -> Iterator[tuple[str, list[dict]]]:
    """An endpoint that answers with each status in turn, then 200; yields its address and what it took."""
    taken: list[dict] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                status = statuses.pop(0) if statuses else 200
                if status == 200:
                    taken.extend(body)
            answer = {"accepted": len(body), "duplicates": 0, "conflicts": 0, "quarantined": 0, "refused": 0}
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class TestTraffic:
    def test_answers_are_added_up_and_progress_is_told(self) -> None:
        told: list[int] = []
        with endpoint([]) as (address, taken):
            traffic = Traffic(address=address, api_key="key")
            traffic.send(iter([EVENTS[:10], EVENTS[10:30]]), progress=told.append)

        assert (traffic.answers.accepted, sum(told), len(taken)) == (30, 30, 30)

    def test_a_batch_that_is_turned_away_is_sent_again(self) -> None:
        with endpoint([503, 429]) as (address, taken):
            traffic = Traffic(address=address, api_key="key")
            traffic.send(iter([EVENTS[:10]]), progress=lambda _: None)

        assert len(taken) == 10

    def test_a_batch_that_is_refused_ends_the_run(self) -> None:
        with (
            endpoint([403]) as (address, _),
            pytest.raises(TrafficFailed, match="answered 403"),
        ):
            Traffic(address=address, api_key="key").send(iter([EVENTS[:10]]), progress=lambda _: None)
