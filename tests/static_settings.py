"""Settings for tools that read the code without running it (mypy): the real ones, with addresses nobody answers at."""

import os

os.environ.setdefault("DJANGO_SECRET_KEY", "signs-nothing")
os.environ.setdefault("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")
os.environ.setdefault("REDIS_URL", "redis://127.0.0.1:1/0")
os.environ.setdefault("CELERY_BROKER_URL", "redis://127.0.0.1:1/1")

from config.settings import *  # noqa: F403
