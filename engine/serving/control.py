"""The control listener: who holds a control token may look and act, on a port of its own.

It knows no use case: the composition root gives it `Route`s. What a route does blocks, and so runs in a thread; of
what changes a model, one thing at a time. Answers are JSON, errors `{error, remedy}`. Paths under `/hooks` ask for no
token, because their senders sign what they send.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote

from pydantic import BaseModel, ValidationError

from engine import __version__
from engine.errors import EngineError, LockedError, NotFoundError, StateError, TransientError, UsageError
from engine.serving.admission import CHALLENGE, LOOPBACK, foreign_body, foreign_site
from engine.serving.handover import Taken
from engine.serving.http import Connection, Request
from engine.serving.listener import Listener, ended
from engine.serving.payloads import parse
from engine.serving.refusal import Refusal
from engine.serving.settings import Settings
from engine.serving.tokens import Door

MAX_DOCUMENT = 64 << 10  # bytes of a body that is not signed
MAX_AT_ONCE = 256  # requests that wait or are carried out
_THREADS = 8
_RETRY = b"retry-after: 1\r\n"
_log = logging.getLogger("engine.control")


def control_settings(host: str, port: int, certificate: str | None = None, key: str | None = None) -> Settings:
    """Limits for few clients and small bodies. A signed delivery may be larger than what a person sends."""
    return Settings(
        host=host,
        port=port,
        certificate=certificate,
        key=key,
        max_body=5 << 20,
        max_bodies=32 << 20,
        max_connections=256,
    )


@dataclass(frozen=True)
class Call:
    """A request as a route gets it. `actor` is the name of the token, empty where none is asked for.

    `body` and `query` are checked by the route's models. `tell(status, document)` answers before the route is done.
    """

    model: str
    actor: str
    body: Any
    query: Any
    raw: bytes
    headers: Mapping[bytes, bytes]
    tell: Callable[[int, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Route:
    """A path, its method, and what is done there: `act` gives a status and a document, or raises EngineError.

    `path` may have one `{name}`. Without a `body` model nothing but an empty object is taken. `changes`: one at a time
    of each model. `signed`: no token is asked for.
    """

    method: str
    path: str
    summary: str
    act: Callable[[Call], tuple[int, Mapping[str, Any]]]
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    changes: bool = False
    signed: bool = False
    answers: Mapping[int, str] = field(default_factory=dict)  # beside 200 and what all may give

    def name_in(self, path: str) -> str | None:
        """The name in a path that is this one's, empty where it has none; None for another path."""
        head, braces, tail = self.path.partition("{name}")
        if not braces:
            return "" if path == self.path else None
        if not path.startswith(head) or not path.endswith(tail) or len(path) <= len(head) + len(tail):
            return None
        name = path[len(head) : len(path) - len(tail)]
        return None if "/" in name else unquote(name)


class Control:
    """A handler of connections, and a component: `start` listens, `stop` answers what was begun and ends."""

    def __init__(
        self, routes: Sequence[Route], door: Door, settings: Settings, announce: Callable[[str], None] = lambda _: None
    ) -> None:
        own = (
            Route("GET", "/healthz", "Whether it lives. Needs no token.", lambda _: (200, {"status": "ok"})),
            Route("GET", "/openapi.json", "This description.", lambda _: (200, self._openapi)),
        )
        self.settings = settings
        self.spared = frozenset({b"/healthz"})
        self.connections: set[Connection] = set()
        self.held = 0
        self.draining = False
        self.routes = (*own, *routes)
        self._openapi = document(self.routes)
        self._door = door
        self._announce = announce
        self._loopback = settings.host in LOOPBACK
        self._listener = Listener(self, "--control-host and --control-port", "control")
        self._tasks: set[asyncio.Task[None]] = set()
        self._locks: dict[str, tuple[asyncio.Lock, list[None]]] = {}  # of each model, with who waits for it
        # Apart, so that nobody waits to look, or to leave an event, until wishes get their leases.
        self._threads = ThreadPoolExecutor(_THREADS, "control")
        self._wishes = ThreadPoolExecutor(_THREADS, "control-wish")
        self._sweep: asyncio.Task[None] | None = None

    # ── the component ──────────────────────────────────────────────────────────────────────────────────────────

    async def start(self, taken: Taken | None = None) -> None:
        """Listen, and announce the address. Raises UsageError for one that cannot be had."""
        address = await self._listener.start(taken)
        self._sweep = asyncio.get_running_loop().create_task(self._listener.sweep())
        self._announce(address)

    @property
    def listener(self) -> Listener:
        """Its listener."""
        return self._listener

    async def stop(self, *, relieved: bool = False) -> None:
        """Take no new connection, answer what was begun, wait for what is still being done."""
        await self._listener.drain(relieved=relieved)
        if self._sweep is not None:
            await ended([self._sweep])
        loop = asyncio.get_running_loop()
        for pool in (self._threads, self._wishes):
            await loop.run_in_executor(None, partial(pool.shutdown, cancel_futures=True))
        await ended(list(self._tasks))

    # ── requests ───────────────────────────────────────────────────────────────────────────────────────────────

    def refusal(self, *_: object) -> None:
        """Nothing is refused for its head alone."""

    def handle(self, request: Request) -> None:
        """Answer a request, now or later."""
        path = request.path.decode("latin-1")
        found = [(route, name) for route in self.routes if (name := route.name_in(path)) is not None]
        open_ = path == "/healthz" or any(route.signed for route, _ in found)
        actor = self._door.who(request.headers.get(b"authorization", b""))
        if actor is None and not open_:
            _fail(request, 401, "a control token is needed", "Make one: engine token create --for control", CHALLENGE)
            return
        if not found:
            _fail(request, 404, "there is no such path", "See /openapi.json.")
            return
        method = "GET" if request.method == b"HEAD" else request.method.decode("latin-1")
        chosen = next(((route, name) for route, name in found if route.method == method), None)
        if chosen is None:
            allowed = ", ".join(sorted({route.method for route, _ in found}))
            allow = f"allow: {allowed}\r\n".encode()
            if method == "OPTIONS":
                request.answer(204, b"", allow)
            else:
                _fail(request, 405, f"the method here is {allowed}", "See /openapi.json.", allow)
            return
        route, name = chosen
        refusal = self._refusal(request, route)
        if refusal is not None:
            _fail(request, *refusal)
            return
        task = asyncio.get_running_loop().create_task(self._carry_out(request, route, name, actor or ""))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _refusal(self, request: Request, route: Route) -> tuple[int, str, str] | tuple[int, str, str, bytes] | None:
        if self._loopback and not route.signed and (foreign := foreign_site(request.headers)) is not None:
            return *foreign, "Ask at the address that it listens at."
        # Who has no token cannot take all the room of those who have one.
        if len(self._tasks) >= (MAX_AT_ONCE // 2 if route.signed else MAX_AT_ONCE):
            return 503, "too many requests at once", "Try again.", _RETRY
        if not route.signed and len(request.body) > MAX_DOCUMENT:
            return 413, f"a body may have {MAX_DOCUMENT} bytes", "Send less."
        if request.method == b"POST" and request.body:
            if b"content-type" not in request.headers:
                return 415, "content-type must be application/json", "Say so in a header."
            foreign = foreign_body(request, (b"application/json",))
            return None if foreign is None else (*foreign, "Say so in a header.")
        return None

    async def _carry_out(self, request: Request, route: Route, name: str, actor: str) -> None:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[int, Mapping[str, Any]]] = loop.create_future()

        def give(status: int, document: Mapping[str, Any]) -> None:
            if not answer.done():
                answer.set_result((status, document))

        def tell(status: int, document: Mapping[str, Any]) -> None:
            loop.call_soon_threadsafe(give, status, document)

        def act() -> None:
            try:
                body = None if route.signed else _checked(route.body, parse(request.body or b"{}"), "body")
                query = _checked(route.query, dict(parse_qsl(request.query.decode("latin-1"), True)), "query")
                call = Call(name, actor, body, query, request.body, request.headers, tell)
                tell(*route.act(call))
            except BaseException as error:  # noqa: BLE001 - whatever it is, somebody waits for an answer
                tell(*_answer_to(error))

        if not route.changes:
            loop.run_in_executor(self._threads, act)
            status, document = await answer
        else:
            async with self._alone(name):
                loop.run_in_executor(self._wishes, act)
                status, document = await answer  # what follows a change, in the registry, holds up nobody
        request.answer_json(status, document, _RETRY if status in (423, 503) else b"")

    @asynccontextmanager
    async def _alone(self, name: str) -> AsyncIterator[None]:
        lock, users = self._locks.setdefault(name, (asyncio.Lock(), []))
        users.append(None)
        try:
            async with lock:
                yield
        finally:
            users.pop()
            if not users:
                del self._locks[name]


def _checked(model: type[BaseModel] | None, value: Any, what: str) -> Any:
    if not isinstance(value, dict):
        raise Refusal(400, "the body must be a JSON object")
    if model is None:
        if value:
            raise Refusal(422, f"nothing is expected in the {what}, not {', '.join(sorted(value))}")
        return None
    return model.model_validate(value, strict=what == "body")


def _answer_to(error: BaseException) -> tuple[int, dict[str, Any]]:
    match error:
        case ValidationError():
            mistakes = [
                {"field": ".".join(map(str, each["loc"])), "problem": each["msg"]}
                for each in error.errors(include_url=False, include_context=False, include_input=False)
            ]
            text = "; ".join(f"{each['field']}: {each['problem']}" for each in mistakes)
            return 422, {"error": text, "remedy": "See /openapi.json.", "mistakes": mistakes}
        case Refusal():
            return error.status, {"error": error.message, "remedy": "See /openapi.json."}
        case NotFoundError():
            status = 404
        case LockedError():
            status = 423
        case UsageError() | StateError():
            status = 409
        case TransientError():
            status = 503
        case EngineError():
            status = 500
        case _:
            _log.error("A request failed.", exc_info=error)
            return 500, {"error": "it failed inside", "remedy": "See the log of the process that listens here."}
    return status, {"error": error.message, "remedy": error.remedy}


def _fail(request: Request, status: int, message: str, remedy: str, headers: bytes = b"") -> None:
    request.fail(status, message, headers, remedy=remedy)


# ── the description ──────────────────────────────────────────────────────────────────────────────────────────

_ERRORS: Mapping[int, str] = {
    401: "no control token",
    403: "asked for by another site",
    404: "there is no such model",
    409: "it does not fit what the model is at",
    413: "too large",
    415: "no JSON",
    422: "fields that are not as described; each mistake is named",
    423: "somebody else holds it",
    503: "too much at once, or the state does not answer",
}
_LOOKING = (401, 403, 404, 503)
_FAILURE = {
    "type": "object",
    "properties": {"error": {"type": "string"}, "remedy": {"type": "string"}},
    "required": ["error"],
}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The routes as OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "engine control", "version": __version__},
        "components": {"securitySchemes": {"control": {"type": "http", "scheme": "bearer"}}},
        "security": [{"control": []}],
        "paths": paths,
    }


def _operation(route: Route) -> dict[str, Any]:
    known = {code: _ERRORS[code] for code in (_LOOKING if route.method == "GET" else _ERRORS)}
    answers = {200: "so it is", **known, **route.answers}
    found: dict[str, Any] = {
        "summary": route.summary,
        "responses": {
            str(code): {
                "description": text,
                "content": {"application/json": {"schema": {"type": "object"} if code < 400 else _FAILURE}},
            }
            for code, text in sorted(answers.items())
        },
    }
    parameters = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
    found["parameters"] = parameters if "{name}" in route.path else []
    if route.query is not None:
        for name, schema in route.query.model_json_schema()["properties"].items():
            found["parameters"].append({"name": name, "in": "query", "schema": schema})
    if route.body is not None:
        schema = route.body.model_json_schema()
        needed = bool(schema.get("required"))
        found["requestBody"] = {"required": needed, "content": {"application/json": {"schema": schema}}}
    if route.signed or route.path == "/healthz":
        found["security"] = []
    return found
