"""From a request under /v2 to its answer. The document does not describe /v2, so that nothing is checked against it.

Any `Stripe-Version` is let in: Stripe's CLI sends older ones here. An idempotency key repeats a success only; what
was refused is tried again, as Stripe says of /v2.
"""

from urllib.parse import unquote

from tests.sandbox.all_or_nothing import all_or_nothing
from tests.sandbox.core.belonging import named_test_clock
from tests.sandbox.core.errors import StripeError, not_implemented
from tests.sandbox.core.idempotency import KeptAnswer
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.v2 import V2Operation, match_v2, read_v2_parameters
from tests.sandbox.keys import check_key, credential_of
from tests.sandbox.memory_faults import forget_key
from tests.sandbox.wire import Request, Response, json_response
from tests.sandbox.world import RequestContext, World


def answer_v2(world: World, request: Request, request_id: str) -> Response:
    try:
        return _answer(world, request, request_id)
    except StripeError as error:
        return json_response(error.body(), error.status)


def _answer(world: World, request: Request, request_id: str) -> Response:
    path = unquote(request.path)
    match = match_v2(request.method, path)
    if match is None:
        check_key(request)
        raise not_implemented(f"{request.method} {path}")
    operation, path_values = match
    if operation.by_session:
        _check_session(world, request)
    else:
        check_key(request)
    parameters = read_v2_parameters(operation, request.query, request.body)
    key = request.headers.get("idempotency-key") if request.method != "GET" else None
    context = RequestContext(request_id, key)
    if key is None:
        return _execute(world, operation, parameters, path_values, context)
    forget_key(world, request, key)
    kept = world.idempotency.find(key, operation=operation.key, path=path, parameters=parameters, now=world.now)
    if kept is not None:
        return Response(kept.status, kept.body, headers={"Idempotent-Replayed": "true"})
    response = _execute(world, operation, parameters, path_values, context)
    answer = KeptAnswer(operation.key, path, parameters, response.status, response.body, request_id, world.now)
    world.idempotency.keep(key, answer)
    return response


def _execute(
    world: World,
    operation: V2Operation,
    parameters: Parameters,
    path_values: tuple[str, ...],
    context: RequestContext,
) -> Response:
    clock = world.clock_with(named_test_clock(world.store, parameters, path_values))
    with all_or_nothing(world), world.by_clock(clock):
        world.request = context
        try:
            return json_response(operation.handler(world, parameters, *path_values))
        finally:
            world.request = None


def _check_session(world: World, request: Request) -> None:
    ends = world.meter_sessions.get(credential_of(request))
    if ends is None:
        raise StripeError("Invalid meter event session token provided.", status=401)
    if world.account_clock.now >= ends:
        raise StripeError(
            "The meter event session has expired; create a new one.",
            kind="temporary_session_expired",
            code="billing_meter_event_session_expired",
        )
