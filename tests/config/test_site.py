"""The site and the worker as real processes: what everybody may see, what is guarded, and what browsers are told."""

import json
import os
import urllib.error
import urllib.request
from email.message import Message

import pytest
from django.test import Client

from config.celery import app
from tests.processes import CeleryWorker, WebServer


def ask(url: str, *, data: bytes | None = None) -> tuple[int, Message, bytes]:
    """Return status, headers and body of an answer, whatever the status."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def test_a_real_server_answers_and_guards(web_process: WebServer) -> None:
    status, _, body = ask(f"{web_process.address}/healthz")
    assert (status, json.loads(body)) == (200, {"database": "ok", "redis": "ok"})

    status, headers, body = ask(f"{web_process.address}/api/v1/events", data=b"[]")
    assert (status, headers["Content-Type"]) == (401, "application/problem+json")

    status, headers, body = ask(f"{web_process.address}/")
    assert (status, b"<form" in body) == (200, True)  # the sign-in page, by way of the admin
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"

    status, _, body = ask(f"{web_process.address}/static/unfold/css/styles.css")
    assert (status, len(body) > 1000) == (200, True)


def test_a_real_worker_takes_all_three_queues(celery_worker_process: CeleryWorker) -> None:
    with app.connection_for_read(os.environ["CELERY_BROKER_URL"]) as connection:
        (answer,) = app.control.inspect(timeout=60, limit=1, connection=connection).active_queues().values()
    assert {queue["name"] for queue in answer} == {"metering", "money", "mirror"}


@pytest.mark.django_db
def test_every_scheduled_task_exists_and_has_a_queue() -> None:
    app.loader.import_default_modules()
    for name, entry in app.conf.beat_schedule.items():
        assert entry["task"] in app.tasks, name
        queue = app.amqp.router.route({}, entry["task"])["queue"].name
        app_label = entry["task"].split(".")[0]
        expected = "metering" if app_label == "metering" else "money"
        assert queue == ("mirror" if entry["task"].endswith("refresh_mirror") else expected), name


@pytest.mark.django_db
def test_health_says_which_service_is_missing(client: Client, settings: object) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"  # type: ignore[attr-defined]
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (503, {"database": "ok", "redis": "unreachable"})


@pytest.mark.django_db
class TestTheDescriptionOfTheApi:
    @pytest.mark.parametrize("path", ["/api/schema", "/api/docs"])
    def test_is_for_staff(self, client: Client, path: str) -> None:
        assert client.get(path).status_code in {401, 403}

    def test_needs_nothing_from_outside(self, admin_client: Client) -> None:
        page = admin_client.get("/api/docs").content.decode()
        assert "swagger-ui-bundle.js" in page
        assert "//cdn" not in page
