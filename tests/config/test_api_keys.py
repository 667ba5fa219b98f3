"""API keys and their scopes, at a plain view, at a REST view and in the database."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import RequestFactory
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.api_keys.access import require_scope
from config.api_keys.models import ApiKey
from config.api_keys.scopes import Scope
from config.clock import now

pytestmark = pytest.mark.django_db
UNUSABLE = "The API key is unknown, revoked or expired."


@require_scope("usage:write")
def view(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"key": request.api_key.name})  # type: ignore[attr-defined]


class Figures(APIView):
    required_scopes = {"GET": Scope.BILLING_READ, "POST": Scope.BILLING_WRITE}

    def get(self, request: Request) -> Response:
        return Response({"by key": isinstance(request.auth, ApiKey)})

    def post(self, request: Request) -> Response:
        return Response({"by key": isinstance(request.auth, ApiKey)})


def make_key(*scopes: str, **fields: object) -> tuple[ApiKey, str]:
    row, key = ApiKey.objects.create_key(name="edge", scopes=list(scopes), **fields)
    assert isinstance(row, ApiKey)
    return row, key


def post(authorization: str | None) -> JsonResponse:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = view(RequestFactory(enforce_csrf_checks=True).post("/", headers=headers))
    assert isinstance(answer, JsonResponse)
    return answer


class TestAPlainView:
    def test_lets_a_key_with_the_scope_in(self) -> None:
        _, key = make_key("usage:write")
        answer = post(f"Api-Key {key}")
        assert (answer.status_code, json.loads(answer.content)) == (200, {"key": "edge"})

    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "API-KEY"])
    def test_takes_the_key_as_a_bearer_token_too_in_any_case(self, scheme: str) -> None:
        _, key = make_key("usage:write")
        assert post(f"{scheme} {key}").status_code == 200
        assert post(f"{scheme} {key}x").status_code == 401

    @pytest.mark.parametrize(
        "authorization",
        [None, "", "Api-Key", "Api-Key ", "Bearer ", "Basic dXNlcjpwYXNz"],
        ids=["none", "empty", "no key", "blank key", "blank bearer", "basic"],
    )
    def test_asks_for_a_key(self, authorization: str | None) -> None:
        answer = post(authorization)
        assert (answer.status_code, answer["Content-Type"]) == (401, "application/problem+json")
        assert answer["WWW-Authenticate"] == "Api-Key, Bearer"
        assert json.loads(answer.content)["detail"] == "Send the header `Authorization: Api-Key <key>`."

    @pytest.mark.parametrize("key", ["nonsense", "abcdefgh.wrong", "a\x00b.c", "é.ü", "." * 5000])
    def test_refuses_an_unknown_key(self, key: str) -> None:
        answer = post(f"Api-Key {key}")
        assert (answer.status_code, json.loads(answer.content)["detail"]) == (401, UNUSABLE)

    def test_refuses_a_key_whose_secret_part_is_another(self) -> None:
        _, key = make_key("usage:write")
        assert post(f"Api-Key {key[:-1]}{'A' if key[-1] != 'A' else 'B'}").status_code == 401

    def test_refuses_a_revoked_and_an_expired_key_with_the_same_words(self) -> None:
        revoked, revoked_key = make_key("usage:write")
        revoked.revoked = True
        revoked.save()
        _, expired_key = make_key("usage:write", expiry_date=now() - timedelta(seconds=1))
        details = [json.loads(post(f"Api-Key {key}").content)["detail"] for key in (revoked_key, expired_key)]
        assert details == [UNUSABLE, UNUSABLE]

    def test_forbids_a_key_without_the_scope(self) -> None:
        _, key = make_key("usage:read", "billing:write")
        answer = post(f"Api-Key {key}")
        assert (answer.status_code, answer["Content-Type"]) == (403, "application/problem+json")
        assert "usage:write" in json.loads(answer.content)["detail"]

    def test_cannot_be_given_a_scope_that_does_not_exist(self) -> None:
        with pytest.raises(ValueError, match="usage:everything"):
            require_scope("usage:everything")


class TestARestView:
    def ask(self, method: str, *scopes: str) -> Response:
        _, key = make_key(*scopes)
        request = RequestFactory().generic(method, "/", headers={"Authorization": f"Api-Key {key}"})
        return Figures.as_view()(request).render()

    def test_asks_for_the_scope_of_the_method(self) -> None:
        for method, scope in (("GET", "billing:read"), ("POST", "billing:write")):
            answer = self.ask(method, scope)
            assert (answer.status_code, answer.data) == (200, {"by key": True})

    def test_takes_a_bearer_token(self) -> None:
        _, key = make_key("billing:read")
        request = RequestFactory().get("/", headers={"Authorization": f"Bearer {key}"})
        assert Figures.as_view()(request).render().data == {"by key": True}

    def test_tells_a_refusal_as_a_problem(self) -> None:
        answer = self.ask("POST", "billing:read")
        assert (answer.status_code, answer["Content-Type"]) == (403, "application/problem+json")
        assert json.loads(answer.content)["status"] == 403

    def test_refuses_methods_no_scope_is_named_for(self) -> None:
        assert self.ask("DELETE", "billing:read", "billing:write").status_code == 403

    def test_refuses_a_request_without_a_key(self) -> None:
        answer = Figures.as_view()(RequestFactory().get("/")).render()
        assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Api-Key, Bearer")


class TestTheDatabase:
    @pytest.mark.parametrize("scopes", [[], ["usage:everything"], ["usage:write", "root"]])
    def test_refuses_unknown_and_missing_scopes(self, scopes: list[str]) -> None:
        with pytest.raises(IntegrityError), transaction.atomic():
            make_key(*scopes)

    def test_keeps_a_hash_and_not_the_key(self) -> None:
        row, key = make_key("usage:write")
        secret = key.partition(".")[2]
        stored = ApiKey.objects.filter(pk=row.pk).values().get()
        assert all(secret not in str(value) for value in stored.values())

    def test_a_revoked_key_stays_revoked(self) -> None:
        row, _ = make_key("usage:write", revoked=True)
        fresh = ApiKey.objects.get(pk=row.pk)
        fresh.revoked = False
        with pytest.raises(ValidationError):
            fresh.save()


class TestTheCommand:
    def test_prints_a_key_that_works(self) -> None:
        out = StringIO()
        call_command("create_api_key", "edge", "usage:write", stdout=out)
        assert post(f"Api-Key {out.getvalue().strip()}").status_code == 200

    def test_refuses_an_unknown_scope(self) -> None:
        with pytest.raises(CommandError, match="usage:everything"):
            call_command("create_api_key", "edge", "usage:everything")
        assert not ApiKey.objects.exists()
