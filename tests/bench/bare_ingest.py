"""The yardsticks for ingest over HTTP: a view that answers at once, and the way Django REST framework is mostly used.

`bulk`: a serializer checks each event, `bulk_create` stores keys and events in one transaction. It dedupes as ours
does, tells no conflict from a duplicate, and asks for no API key. `nothing`: reads the body and answers.
"""

from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

from django.db import models, transaction  # noqa: E402  (what follows needs the apps loaded)
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils import timezone  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402
from rest_framework import serializers  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

from metering.event_keys import event_key  # noqa: E402
from metering.models import EventKey  # noqa: E402


class Row(models.Model):
    """The columns of metering_event that an application may write."""

    key = models.UUIDField(primary_key=True)
    event_time = models.DateTimeField()
    received_at = models.DateTimeField()
    source = models.CharField(max_length=256)
    event_id = models.CharField(max_length=256)
    event_type = models.CharField(max_length=128)
    customer_key = models.CharField(max_length=128)
    data = models.JSONField()

    class Meta:
        app_label = "metering"
        managed = False
        db_table = "metering_event"


class EventSerializer(serializers.Serializer[Any]):
    """A CloudEvent with token counts."""

    def get_fields(self) -> dict[str, Any]:
        # Not as attributes: `source` and `data` are names that serializers use themselves.
        return {
            "specversion": serializers.ChoiceField(choices=["1.0"]),
            "id": serializers.CharField(max_length=256),
            "source": serializers.CharField(max_length=256),
            "type": serializers.CharField(max_length=128),
            "subject": serializers.CharField(max_length=128),
            "time": serializers.DateTimeField(),
            "data": serializers.DictField(),
        }


class Bulk(APIView):
    """POST a list of events."""

    authentication_classes = ()
    permission_classes = ()

    def post(self, request: Request) -> Response:
        serializer = EventSerializer(data=request.data, many=True)
        serializer.is_valid(raise_exception=True)
        received_at = timezone.now()
        keys, rows = [], []
        for event in serializer.validated_data:
            key = event_key(event["source"], event["id"])
            keys.append(EventKey(key=key, event_time=event["time"], digest=key))
            rows.append(
                Row(
                    key=key,
                    event_time=event["time"],
                    received_at=received_at,
                    source=event["source"],
                    event_id=event["id"],
                    event_type=event["type"],
                    customer_key=event["subject"],
                    data=event["data"],
                )
            )
        with transaction.atomic():
            EventKey.objects.bulk_create(keys, ignore_conflicts=True)
            Row._default_manager.bulk_create(rows, ignore_conflicts=True)
        return Response({"accepted": len(rows)})


@csrf_exempt
def nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b'{"accepted":%d}' % len(request.read()), content_type="application/json")


def healthz(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


urlpatterns = [path("bulk", Bulk.as_view()), path("nothing", nothing), path("healthz", healthz)]
settings.ROOT_URLCONF = __name__
