"""The entry point of a WSGI server: `granian --interface wsgi config.wsgi:application`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()

from config.backpressure import bound_waits  # noqa: E402  (what it imports reads the settings)

bound_waits()
