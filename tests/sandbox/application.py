"""From a Stripe request to Stripe's answer: key, route, parameters, idempotency, the operation, expansion, checks."""

from contextlib import nullcontext
from urllib.parse import unquote

import msgspec

from tests.sandbox import resources
from tests.sandbox.all_or_nothing import all_or_nothing
from tests.sandbox.answering_v2 import answer_v2
from tests.sandbox.breaking import note_crash, unknown_error
from tests.sandbox.core.belonging import named_test_clock
from tests.sandbox.core.document import Document, Match, Operation, load_document
from tests.sandbox.core.errors import StripeError, not_implemented, unrecognized_url
from tests.sandbox.core.expand import expanded
from tests.sandbox.core.history import PastRequest, kept
from tests.sandbox.core.idempotency import KEY_LENGTH_MAX, KeptAnswer
from tests.sandbox.core.ids import IdSource
from tests.sandbox.core.parameters import Parameters, full_name, read_parameters
from tests.sandbox.core.registry import HANDLERS
from tests.sandbox.core.schema import Schema, problems
from tests.sandbox.core.skeletons import Skeletons
from tests.sandbox.core.store import StripeObject
from tests.sandbox.core.undocumented import match_undocumented
from tests.sandbox.keys import check_key
from tests.sandbox.memory_faults import forget_key, lists_lag
from tests.sandbox.wire import Request, Response
from tests.sandbox.world import RequestContext, Settings, World

resources.load()


class Application:
    """Answers requests under /v1 and /v2 on its current `world`."""

    def __init__(self, *, now: int, settings: Settings, seed: int | None = None) -> None:
        self.document: Document = load_document()
        self._ids = IdSource(seed)
        self._request_ids = IdSource(None if seed is None else seed + 1)  # so that asking changes no identifiers
        self._skeletons = Skeletons(self.document)
        self._settings = settings
        self.world = self._new_world(now, settings)

    def reset(self, *, now: int, settings: Settings | None = None) -> None:
        """Forget everything and start a new account at `now`."""
        self._settings = settings or self._settings
        self.world.close()
        self.world = self._new_world(now, self._settings)

    def answer(self, request: Request) -> Response:
        """Answer one request, and then do what has become due by it (a payment after a finalisation …)."""
        request_id = self._request_ids.new("req", 14)
        world = self.world
        at, place = world.now, world.store.created_count
        try:
            response = self._answer(request, request_id)
        except StripeError as error:
            response = self._error_response(request, error)
        except Exception as error:  # noqa: BLE001  # whatever it is: the client is answered, the server lives on
            note_crash(world, f"{request.method} {request.path}", error)
            response = self._error_response(request, unknown_error())
        response.headers["Request-Id"] = request_id
        response.headers["Stripe-Version"] = self.document.version
        world.history.note(_past_request(request, response, at=at, place=place))
        try:
            world.run_due()
        except Exception as error:  # noqa: BLE001  # the answer is given already
            note_crash(world, f"what was due after {request.method} {request.path}", error)
        return response

    def _answer(self, request: Request, request_id: str) -> Response:
        if request.path.startswith("/v2/"):
            return answer_v2(self.world, request, request_id)
        check_key(request)
        version = request.headers.get("stripe-version", self.document.version)
        if version != self.document.version:
            raise StripeError(
                f"Invalid Stripe API version: {version}. The sandbox speaks {self.document.version} only."
            )
        path = unquote(request.path)
        match = self.document.match(request.method, path) or match_undocumented(self.document, request.method, path)
        if match is None:
            if self.document.knows_path(path) and request.method not in ("GET", "POST", "DELETE"):
                raise StripeError(f"Method {request.method} not allowed on {path}.", status=405)
            raise unrecognized_url(request.method, path)
        parameters = read_parameters(match.operation, request.query, _text(request.body))
        key = _idempotency_key(request)
        if key is None:
            return self._execute(request, match, parameters, RequestContext(request_id, None))
        forget_key(self.world, request, key)
        kept = self.world.idempotency.find(
            key, operation=match.operation.key, path=path, parameters=parameters, now=self.world.now
        )
        if kept is not None:
            replay = {"Idempotency-Key": key, "Idempotent-Replayed": "true", "Original-Request": kept.request_id}
            return Response(kept.status, kept.body, headers=replay)
        return self._execute_once(request, match, parameters, RequestContext(request_id, key))

    def _execute_once(
        self, request: Request, match: Match, parameters: Parameters, context: RequestContext
    ) -> Response:
        assert context.idempotency_key is not None
        try:
            response = self._execute(request, match, parameters, context)
        except StripeError as error:
            if error.fields.get("code") == "sandbox_not_implemented":
                raise
            response = self._error_response(request, error)
        kept = KeptAnswer(
            operation=match.operation.key,
            path=unquote(request.path),
            parameters=parameters,
            status=response.status,
            body=response.body,
            request_id=context.id,
            kept_at=self.world.now,
        )
        self.world.idempotency.keep(context.idempotency_key, kept)
        response.headers["Idempotency-Key"] = context.idempotency_key
        return response

    def _execute(self, request: Request, match: Match, parameters: Parameters, context: RequestContext) -> Response:
        handler = HANDLERS.get(match.operation.key)
        if handler is None:
            raise not_implemented(match.operation.key)
        world = self.world
        named = named_test_clock(world.store, parameters, match.path_values, world.subscription_items)
        clock = world.clock_with(named)
        changes = nullcontext() if request.method == "GET" else all_or_nothing(world)
        with changes, world.by_clock(clock), lists_lag(world, request, match.operation):
            world.request = context
            try:
                thing = handler(world, parameters, *match.path_values)
            except StripeError as error:
                _name_fully(error, match.operation, parameters)
                raise
            finally:
                world.request = None
            if parameters.get("expand"):
                thing = expanded(world, thing, match.operation.answer, parameters["expand"])
        self._check_answer(request, thing, match.operation.answer)
        return Response(200, msgspec.json.encode(thing))

    def _error_response(self, request: Request, error: StripeError) -> Response:
        body = error.body()
        self._check_answer(request, body, self.document.error)
        return Response(error.status, msgspec.json.encode(body), headers=dict(error.headers))

    def _check_answer(self, request: Request, answer: StripeObject, schema: Schema) -> None:
        if self.world.settings.strict:
            found = problems(answer, schema)
            self.world.problems.extend(f"{request.method} {request.path}: {problem}" for problem in found)

    def _new_world(self, now: int, settings: Settings) -> World:
        return World(document=self.document, skeletons=self._skeletons, ids=self._ids, settings=settings, now=now)


def _idempotency_key(request: Request) -> str | None:
    """The key of a POST; an empty one is none. Raises `StripeError` for one too long."""
    key = request.headers.get("idempotency-key") or None
    if key is not None and len(key) > KEY_LENGTH_MAX:
        raise StripeError(f"Invalid Idempotency-Key: must be at most {KEY_LENGTH_MAX} characters.")
    return key if request.method == "POST" else None


def _name_fully(error: StripeError, operation: Operation, parameters: Parameters) -> None:
    """Let a refusal name its parameter as the request had it. An error of a card has its own names (`number`)."""
    param = error.fields.get("param")
    if param is None or error.fields["type"] == "card_error":
        return
    name = full_name(param, operation, parameters)
    if name is None:
        del error.fields["param"]
    else:
        error.fields["param"] = name


def _past_request(request: Request, response: Response, *, at: int, place: int) -> PastRequest:
    return PastRequest(
        id=response.headers["Request-Id"],
        at=at,
        place=place,
        method=request.method,
        path=request.path,
        query=request.query,
        body=kept(request.body),
        idempotency_key=request.headers.get("idempotency-key"),
        status=response.status,
        answer=kept(response.body),
        replay_of=response.headers.get("Original-Request"),
    )


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise StripeError(f"Invalid request body: not UTF-8 at byte {error.start}.") from error
