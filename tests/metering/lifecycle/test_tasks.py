"""The regular work: each task does its one thing, and the schedule knows all of them."""

from datetime import timedelta

import pytest

from config import clock
from config.celery import app
from metering import queries, tasks
from metering.models import Alarm, EventKey
from tests.metering.lifecycle.months import fill, old_month
from tests.metering.usage import event, ingest

pytestmark = pytest.mark.usefixtures("metered", "archive_folder")


def test_the_daily_tasks_bring_out_forget_and_thin() -> None:
    fill(old_month(), 5)
    tasks.task_archive_usage()
    tasks.task_forget_keys()
    tasks.task_thin_figures()
    tasks.task_ensure_partitions()
    assert [month.events for month in queries.archived_months()] == [5]
    assert not EventKey.objects.exists()
    assert queries.months_ahead(clock.now()) >= 2


def test_the_check_for_alarms_goes_by_the_clock() -> None:
    now = clock.now()
    for tokens in (1, 2):
        ingest(event("e1", time=now - timedelta(minutes=5), data={"input_tokens": tokens}), received_at=now)
    tasks.task_check_alarms()
    assert [alarm.kind for alarm in Alarm.objects.filter(closed_at=None)] == ["conflicts"]


def test_every_regular_task_of_metering_exists_and_is_scheduled() -> None:
    scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}
    wanted = {"archive_usage", "forget_keys", "thin_figures", "check_alarms", "ensure_partitions"}
    assert {f"metering.tasks.task_{name}" for name in wanted} <= scheduled
    app.loader.import_default_modules()
    assert {name for name in scheduled if name.startswith("metering.")} <= set(app.tasks)
