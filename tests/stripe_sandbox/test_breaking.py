"""If the sandbox itself breaks, the client is told so as Stripe tells it, the test fails, and the process lives on."""

import json

import pytest

from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.registry import HANDLERS
from tests.sandbox.server import Sandbox
from tests.sandbox.tally import expected_problems
from tests.sandbox.wire import Request, Response
from tests.sandbox.world import World
from tests.stripe_sandbox.in_process import HEADERS, InProcess

BROKEN = "GET /v1/tax_rates"


def break_down(world: World, parameters: Parameters) -> None:
    raise KeyError("lost")


def test_an_exception_in_a_handler_is_a_500_and_a_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(HANDLERS, BROKEN, break_down)
    account = InProcess()

    response = account.application.answer(Request("GET", "/v1/tax_rates", "", HEADERS, b""))

    assert response.status == 500
    assert json.loads(response.body) == {"error": {"message": "An unknown error occurred.", "type": "api_error"}}
    assert response.headers["Request-Id"].startswith("req_")
    assert account.world.problems == ["GET /v1/tax_rates broke the sandbox: KeyError: 'lost'"]
    assert "raise KeyError" in capsys.readouterr().err
    assert "id" in account.ask("customers")


def test_an_exception_in_due_work_leaves_the_answer_and_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    account = InProcess()
    account.world.clock.at(account.world.now, lambda: break_down(account.world, {}), "something")

    assert "id" in account.ask("customers")

    assert account.world.problems == ["what was due after POST /v1/customers broke the sandbox: KeyError: 'lost'"]
    assert account.world.clock.doing == ""


def test_an_exception_behind_a_control_request_is_a_500_and_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    account = InProcess()
    account.world.clock.at(account.world.now + 1, lambda: break_down(account.world, {}), "something")
    replies: list[Response | None] = []
    sandbox = Sandbox(account.application)
    move = json.dumps({"now": account.world.now + 1}).encode()

    with expected_problems() as told:
        sandbox.serve(Request("POST", "/_sandbox/clock", "", {}, move), replies.append)

    assert [reply.status for reply in replies if reply] == [500]
    assert account.world.problems == ["POST /_sandbox/clock broke the sandbox: KeyError: 'lost'"]
    assert told == ["the sandbox: POST /_sandbox/clock broke the sandbox: KeyError: 'lost'"]  # which fails the test
