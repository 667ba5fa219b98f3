"""Whatever is asked by the document, in whatever order: the sandbox answers or refuses as Stripe does. It never breaks.

A test is a list of requests and moves of the clock. Where a parameter is refused, the same is asked once more without
it, and where one is missed, with it, so that requests get behind the first thing that is wrong with them.
"""

from functools import cache
from urllib.parse import urlencode

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sandbox.core.document import Operation, load_document
from tests.sandbox.core.registry import HANDLERS
from tests.sandbox.core.schema import problems
from tests.sandbox.core.undocumented import match_undocumented
from tests.sandbox.wire import Request, Response
from tests.stripe_sandbox.any_request import Parameters, RequestMaker, form_pairs, is_parameter
from tests.stripe_sandbox.full_world import FullWorld
from tests.stripe_sandbox.in_process import HEADERS

MOVES = (60, 3_600, 86_400, 20 * 86_400)  # seconds
ATTEMPTS = 5

numbers = st.integers(min_value=0, max_value=2**32 - 1)
requests = st.tuples(st.sampled_from(sorted(HANDLERS)), numbers)
moves = st.tuples(st.just("the clock"), st.sampled_from(MOVES))
plans = st.lists(requests | moves, min_size=1, max_size=12)


@settings(max_examples=25, deadline=None)
@given(plans)
def test_nothing_that_the_document_allows_breaks_the_sandbox(plan: list[tuple[str, int]]) -> None:
    full = FullWorld()
    for step, number in plan:
        if step == "the clock":
            full.world.clock.advance(full.world.now + number)
        else:
            ask(full, step, number)
        assert full.world.problems == [], (step, number)


def ask(full: FullWorld, key: str, number: int) -> None:
    """The request of an operation that `number` stands for. What it is answered is valid."""
    operation = operation_of(key)
    maker = RequestMaker(full.world, number)
    path = maker.path(key.partition(" ")[2])
    parameters = maker.parameters(operation)
    for _ in range(ATTEMPTS):
        response = send(full, operation, path, parameters)
        assert response.status < 500, (key, path, parameters)
        if response.status < 400:
            return
        param = check_refusal(response, operation, (key, path, parameters))
        refused = param.partition("[")[0]
        if refused in parameters:
            parameters = {name: value for name, value in parameters.items() if name != refused}
        elif refused in operation.parameters.properties:
            parameters = maker.more(operation, parameters, param)
        else:
            return


def send(full: FullWorld, operation: Operation, path: str, parameters: Parameters) -> Response:
    method = operation.key.partition(" ")[0]
    encoded = urlencode(list(form_pairs(parameters)))
    query, body = ("", encoded) if method == "POST" else (encoded, "")
    return full.application.answer(Request(method, path, query, HEADERS, body.encode()))


def check_refusal(response: Response, operation: Operation, call: object) -> str:
    """The parameter that a refusal is about, or an empty text."""
    body = msgspec.json.decode(response.body)
    error = body["error"]
    assert problems(body, load_document().error) == [], (call, error)
    param = error.get("param")
    if param is None or error["type"] == "card_error":  # the fields of a card go by names of their own
        return ""
    assert is_parameter(param, operation), (call, error)
    return str(param)


@cache
def operation_of(key: str) -> Operation:
    document = load_document()
    method, _, template = key.partition(" ")
    found = document.match(method, template) or match_undocumented(document, method, template)
    assert found is not None
    return found.operation
