"""The gateway's requests: which path is what, who may ask, who answers, and what the answer says.

A prediction is one object and two callbacks: it is handed to a pool as it came, and the reply is written as it comes.
What a candidate fails, the stable release answers, and the failure counts against the candidate.

Whether there is room for a request is decided before it is known whose it is: the stable release has room, or it is
refused. What comes while the candidate has none leaves no evidence, of either of them, so that neither overload nor a
slow candidate shifts the split that is judged.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from urllib.parse import parse_qs, quote, unquote

from engine import __version__
from engine.serving import openapi
from engine.serving.admission import CHALLENGE, LOOPBACK, foreign_body, foreign_site
from engine.serving.copies import Copy, copy_to
from engine.serving.counting import Slot
from engine.serving.fleet import Fleet
from engine.serving.http import Connection, Request
from engine.serving.payloads import parse
from engine.serving.pool import READY, Job
from engine.serving.prediction_log_format import ASSIGNED, FELL_BACK, FORCED, OVERFLOW, REPEATED, id_text
from engine.serving.prediction_log_keeper import Keeper
from engine.serving.refusal import Refusal
from engine.serving.routing import Route, hash_of, place_of
from engine.serving.settings import Settings
from engine.serving.signature import Signature
from engine.serving.tokens import Door
from engine.serving.wire import MLFLOW, OPEN_INFERENCE, OWN, Reply
from engine.serving.wire import Request as Asked

Action = Callable[[Request], None]
_BODIES = (b"application/json", b"application/octet-stream")
OPEN_PATHS = frozenset(  # without a token
    {b"/healthz", b"/readyz", b"/ping", b"/health", b"/v2/health/live", b"/v2/health/ready"}
)
_CANDIDATES_SHARE = 0.5  # of the deadline; the rest is for the stable release
_MOST_TO_PARSE = 256 << 10  # bytes of a body that are parsed here for a key; beyond it everybody would wait
_RETRY = b"retry-after: 1\r\n"
_TOO_MANY = (429, "too many requests", _RETRY)
_JSON = b"content-type: application/json\r\n"


class Gateway:
    """Handles requests. `metrics` gives the text of `/metrics` with its content type; without a `door` all may ask."""

    def __init__(
        self, settings: Settings, keeper: Keeper, metrics: Callable[[], tuple[bytes, str]], door: Door | None = None
    ) -> None:
        self.settings = settings
        self.spared = OPEN_PATHS
        self._door = door
        self.keeper = keeper
        self.connections: set[Connection] = set()
        self.held = 0
        self.draining = False
        self.in_flight = 0
        self.turned_away = 0
        self.fleet: Fleet | None = None
        self.known: frozenset[str] = frozenset()  # models that shall be served
        self.informed = False  # whether it is known which these are
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._table: Mapping[bytes, Mapping[bytes, Action]] = {}
        self._models: Mapping[bytes, str] = {}  # by the paths for predictions of a release that is not named
        self._loopback = settings.host in LOOPBACK
        self.renew()

    # ── which path is what ─────────────────────────────────────────────────────────────────────────────────────

    def renew(self) -> None:
        """Lay out the paths for the models that are known now."""
        get: dict[str, Action] = {
            "/healthz": lambda request: request.answer_json(200, {"status": "ok"}),
            "/readyz": self._ready,
            "/metrics": self._show_metrics,
            "/openapi.json": self._openapi,
            "/docs": lambda request: request.answer(200, openapi.PAGE, openapi.PAGE_HEADERS),
            "/v1/models": self._list,
            "/ping": self._ready,  # these three as MLflow's scoring server has them
            "/health": self._ready,
            "/version": lambda request: request.answer(200, __version__.encode(), b"content-type: text/plain\r\n"),
            "/v2": self._server,
            "/v2/health/live": lambda request: request.answer_json(200, {"live": True}),
            "/v2/health/ready": self._ready,
        }
        post: dict[str, Action] = {"/invocations": self._only_model}
        for name in self.known:
            path = quote(name, safe="")
            post[f"/v1/models/{path}/predict"] = partial(self._predict, name, OWN, None)
            post[f"/v1/models/{path}/invocations"] = partial(self._predict, name, MLFLOW, None)
            post[f"/v1/models/{path}/feedback"] = partial(self._feedback, name)
            get[f"/v1/models/{path}"] = partial(self._describe, name)
            post[f"/v2/models/{path}/infer"] = partial(self._predict, name, OPEN_INFERENCE, None)
            get[f"/v2/models/{path}"] = partial(self._metadata, name, None)
            get[f"/v2/models/{path}/ready"] = partial(self._model_ready, name, None)
            for version in self._route(name).forced if self._route(name) else ():  # type: ignore[union-attr]
                post[f"/v2/models/{path}/versions/{version}/infer"] = partial(
                    self._predict, name, OPEN_INFERENCE, version
                )
                get[f"/v2/models/{path}/versions/{version}"] = partial(self._metadata, name, version)
                get[f"/v2/models/{path}/versions/{version}/ready"] = partial(self._model_ready, name, version)
        self._models = {
            f"/{path}".encode(): name
            for name in self.known
            for path in (
                f"v1/models/{quote(name, safe='')}/predict",
                f"v1/models/{quote(name, safe='')}/invocations",
                f"v2/models/{quote(name, safe='')}/infer",
            )
        }
        table: dict[bytes, dict[bytes, Action]] = {}
        for path, action in get.items():
            table.setdefault(path.encode(), {}).update({b"GET": action, b"HEAD": action})
        for path, action in post.items():
            table.setdefault(path.encode(), {})[b"POST"] = action
        self._table = table

    @property
    def paths(self) -> Mapping[bytes, Mapping[bytes, Action]]:
        """Every path with its methods."""
        return self._table

    def handle(self, request: Request) -> None:
        """Answer a request, now or later."""
        methods = self._table.get(request.path)
        if methods is None:
            methods = self._table.get(quote(unquote(request.path.decode("latin-1")), safe="/").encode())
        if request.path not in OPEN_PATHS:
            if self._loopback and (foreign := foreign_site(request.headers)) is not None:
                request.fail(*foreign)
                return
            if not self._admits(request.headers):
                request.fail(401, "a token is needed", CHALLENGE)
                return
        if methods is None:
            self._unknown(request)
            return
        action = methods.get(request.method)
        if action is not None:
            if request.method == b"POST" and (foreign := foreign_body(request, _BODIES)) is not None:
                request.fail(*foreign)
                return
            action(request)
            return
        allowed = ", ".join([*sorted(method.decode() for method in methods), "OPTIONS"])
        allow = f"allow: {allowed}\r\n".encode()
        if request.method == b"OPTIONS":
            request.answer(204, b"", allow)
        else:
            request.fail(405, f"the methods here are {allowed}", allow)

    def refusal(self, method: bytes, path: bytes, headers: Mapping[bytes, bytes]) -> tuple[int, str, bytes] | None:
        """Why a request is refused of which only the head was read; None if it is not, or will be told when whole."""
        name = self._models.get(path) if method == b"POST" else None
        if name is None or b"x-engine-release" in headers:
            return None
        route = self._route(name)
        if route is None or self._has_room(route.stable) or not self._admits(headers):
            return None
        if self._loopback and foreign_site(headers) is not None:
            return None
        self._turn_away(route.stable)
        return _TOO_MANY

    def _has_room(self, slot: Slot) -> bool:
        return self.in_flight < self.settings.max_in_flight and slot.pool.has_room

    def _turn_away(self, slot: Slot) -> None:
        self.turned_away += 1
        slot.pool.limit.refuse(monotonic())

    def _unknown(self, request: Request) -> None:
        if not self.informed:
            request.fail(503, "the gateway is starting", _RETRY)
            return
        if request.method == b"OPTIONS" and request.path == b"*":
            request.answer(204, b"", b"allow: GET, HEAD, POST, OPTIONS\r\n")
            return
        parts = request.path.split(b"/")
        if len(parts) > 3 and parts[2] == b"models" and unquote(parts[3].decode("latin-1")) not in self.known:
            request.fail(404, "no such model", models=sorted(self.known))
        elif len(parts) > 5 and parts[4] == b"versions":
            request.fail(404, "this version is not loaded")
        else:
            request.fail(404, "no such path; see /openapi.json")

    # ── who may ask ────────────────────────────────────────────────────────────────────────────────────────────

    def _admits(self, headers: Mapping[bytes, bytes]) -> bool:
        return self._door is None or self._door.who(headers.get(b"authorization", b"")) is not None

    # ── predictions ────────────────────────────────────────────────────────────────────────────────────────────

    def _only_model(self, request: Request) -> None:
        query = parse_qs(request.query.decode("latin-1"))
        names = query.get("model") or (list(self.known) if len(self.known) == 1 else [])
        if len(names) != 1:
            request.fail(400, "several models are served; say ?model=NAME", models=sorted(self.known))
        elif names[0] not in self.known:
            request.fail(404, "no such model", models=sorted(self.known))
        else:
            self._predict(names[0], MLFLOW, None, request)

    def _predict(self, name: str, form: int, version: int | None, request: Request) -> None:
        route = self._route(name)
        if route is None:
            request.fail(503, "the model is not ready", _RETRY)
            return
        headers = request.headers
        wish = headers.get(b"x-engine-release")
        forced = wish is not None or version is not None
        asked = _named(route, version, wish) if forced else route.stable
        if asked is None:
            request.fail(404, "this release is not loaded", releases=sorted(route.forced))
            return
        if not self._has_room(asked):
            self._turn_away(asked)
            request.fail(*_TOO_MANY)
            return
        head = 0
        if b"inference-header-content-length" in headers:
            text = headers[b"inference-header-content-length"]
            head = int(text) if text.isdigit() and len(text) < 10 else 0
            if form != OPEN_INFERENCE or not 0 < head <= len(request.body):
                request.fail(400, "inference-header-content-length does not fit the body")
                return
        if forced:
            _Call(self, request, route, asked, form, head, None, FORCED)
            return
        tried = route.candidate or route.shadow
        if tried is None:
            _Call(self, request, route, route.stable, form, head, None, ASSIGNED)
            return
        key = headers.get(b"x-routing-key")
        if key is None and route.id_column is not None:
            key = _id_in(request.body, head, form, route.id_column)
        hashed = None if key is None else hash_of(name, tried.version, key)
        copy = None
        if route.shadow is not None and random.random() < route.mirror:  # noqa: S311 - a share of traffic, no secret
            copy = copy_to(route.shadow, form, head, request.body, hashed, self.settings.deadline)
        slot, way = route.stable, ASSIGNED
        if route.candidate is not None:
            place = random.random() if hashed is None else place_of(hashed)  # noqa: S311 - as above
            if not route.candidate.pool.has_room:
                way = OVERFLOW
            elif place < route.weight:
                slot = route.candidate
        _Call(self, request, route, slot, form, head, hashed, way, copy)

    def _feedback(self, name: str, request: Request) -> None:
        task = asyncio.get_running_loop().create_task(self._take_feedback(name, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take_feedback(self, name: str, request: Request) -> None:
        answer = await self.keeper.take(name, request.body)
        model = self.fleet.models.get(name) if self.fleet is not None else None
        for version, role, labelled, correct in answer.right if model is not None else ():
            totals = model.totals.get((version, role)) if model is not None else None
            if totals is not None:  # else it has not served since this gateway started
                totals.labelled += labelled
                totals.correct += correct
        request.answer(answer.status, answer.body, _JSON + (_RETRY if answer.status in (429, 503) else b""))

    def _route(self, name: str) -> Route | None:
        return self.fleet.routes.get(name) if self.fleet is not None else None

    # ── about ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _ready(self, request: Request) -> None:
        waiting = sorted(name for name in self.known if self._route(name) is None)
        if self.draining or waiting or not self.informed:
            request.answer_json(503, {"ready": False, "waiting": waiting}, _RETRY)
        else:
            request.answer_json(200, {"ready": True})

    def _show_metrics(self, request: Request) -> None:
        body, kind = self._metrics()
        request.answer(200, body, f"content-type: {kind}\r\n".encode())

    def _openapi(self, request: Request) -> None:
        request.answer_json(200, openapi.document({name: self._signature(name) for name in sorted(self.known)}))

    def _list(self, request: Request) -> None:
        request.answer_json(200, {"models": [self._about(name) for name in sorted(self.known)]})

    def _describe(self, name: str, request: Request) -> None:
        request.answer_json(200, self._about(name))

    def _about(self, name: str) -> dict[str, object]:
        route, signature = self._route(name), self._signature(name)
        releases = self.fleet.models[name].releases if self.fleet is not None and name in self.fleet.models else {}
        return {
            "name": name,
            "ready": route is not None,
            "stable": route.stable.version if route else None,
            "candidate": route.candidate.version if route and route.candidate else None,
            "weight": route.weight if route else None,
            "processes": {str(version): each.pool.pids if each.pool else [] for version, each in releases.items()},
            "path": route.stable.pool.path if route else None,
            "columns": [{"name": column, "kind": kind} for column, kind in signature.features] if signature else None,
            "classes": list(signature.classes) if signature else None,
        }

    def _signature(self, name: str) -> Signature | None:
        route = self._route(name)
        return route.stable.pool.signature if route is not None else None

    def _server(self, request: Request) -> None:
        request.answer_json(200, {"name": "engine", "version": __version__, "extensions": ["binary_tensor_data"]})

    def _metadata(self, name: str, version: int | None, request: Request) -> None:
        route = self._route(name)
        if route is None:
            request.fail(503, "the model is not ready", _RETRY)
            return
        slot = route.stable if version is None else route.forced[version]
        signature = slot.pool.signature
        assert signature is not None  # it was ready
        outputs = [{"name": "predict", "datatype": "BYTES" if signature.classes else "FP64", "shape": [-1]}]
        if signature.classes:
            outputs.append({"name": "predict_proba", "datatype": "FP64", "shape": [-1, len(signature.classes)]})
        inputs = [
            {"name": column, "datatype": signature.datatype(column), "shape": [-1, 1]} for column in signature.names
        ]
        versions = [str(number) for number in sorted(route.forced)]
        request.answer_json(
            200,
            {"name": name, "versions": versions, "platform": "engine", "inputs": inputs, "outputs": outputs},
        )

    def _model_ready(self, name: str, version: int | None, request: Request) -> None:
        route = self._route(name)
        slot = None if route is None else route.stable if version is None else route.forced.get(version)
        ready = slot is not None and slot.pool.state == READY
        request.answer_json(200 if ready else 503, {"name": name, "ready": ready}, b"" if ready else _RETRY)


class _Call:
    """One prediction on its way."""

    __slots__ = (
        "_alone",
        "_began",
        "_copy",
        "_first",
        "_form",
        "_gateway",
        "_head",
        "_key",
        "_request",
        "_route",
        "_slot",
        "_started",
        "_way",
    )

    def __init__(
        self,
        gateway: Gateway,
        request: Request,
        route: Route,
        slot: Slot,
        form: int,
        head: int,
        key: int | None,
        way: int,
        copy: Copy | None = None,
    ) -> None:
        self._copy = copy
        self._gateway, self._request, self._route, self._slot = gateway, request, route, slot
        self._form, self._head, self._key, self._way = form, head, key, way
        self._first: Reply | None = None  # the candidate's, when it was no answer
        self._started = monotonic()
        gateway.in_flight += 1
        seconds = gateway.settings.deadline
        if slot is route.candidate and way != FORCED:
            seconds *= _CANDIDATES_SHARE
        self._submit(self._started, self._started + seconds)

    def _submit(self, now: float, deadline: float) -> None:
        pool = self._slot.pool
        self._began, self._alone = now, pool.limit.begin()
        pool.submit(Job(self._form, self._head, self._request.body, deadline, self._done))

    def _leave(self, now: float, reply: Reply) -> None:
        """Tell the limit. Who had to wait for a process to be there says nothing about load."""
        pool = self._slot.pool
        told = reply.status == 200 and self._began > pool.ready_since
        pool.limit.end(now, now - self._began if told else None, alone=self._alone)

    def _done(self, reply: Reply) -> None:
        route, slot, now = self._route, self._slot, monotonic()
        self._leave(now, reply)
        if reply.status != 200 and slot is route.candidate and self._way != FORCED and self._first is None:
            self._first = reply
            self._slot = route.stable
            self._submit(now, self._started + self._gateway.settings.deadline)
            return
        self._gateway.in_flight -= 1
        seconds = now - self._started
        way = self._count(reply, seconds)
        if self._copy is not None:
            self._copy.given(reply)
        if reply.status == 200 or reply.status >= 500:
            if self._first is not None:
                assert route.candidate is not None
                self._log(route.candidate, self._first, seconds, self._way)
            number = self._log(slot, reply, seconds, way)
        if reply.status == 200:
            self._answer(reply, slot, number)
        else:
            headers = _RETRY if reply.status in (503, 504) else b""
            self._request.answer(reply.status, self._error(reply), slot.headers + headers)

    def _log(self, slot: Slot, reply: Reply, seconds: float, way: int) -> int:
        """Take it into the prediction log; returns the id of its first row."""
        asked = Asked(0, self._form, self._head, self._request.body)
        return self._gateway.keeper.log.add(slot.part, slot.pool.signature, asked, reply, seconds, self._key, way)

    def _count(self, reply: Reply, seconds: float) -> int:
        """What is the client's mistake counts for nobody; what fell back counts for the candidate alone.

        What was not assigned by the weight is for the metrics alone. Returns how the request came to its release, for
        the log.
        """
        slot = self._slot
        way = self._way if self._first is None else FELL_BACK
        if 400 <= reply.status < 500:
            slot.totals.refused += 1
        elif way != ASSIGNED:
            if self._first is not None:
                assert self._route.candidate is not None
                fell_back = reply.status == 200
                if self._way == ASSIGNED:
                    self._route.candidate.failed(self._key, fell_back=fell_back)
                else:
                    self._route.candidate.erred(fell_back=fell_back)
            if reply.status == 200:
                slot.answered(reply, seconds)
            else:
                slot.erred()
        elif reply.status != 200:
            slot.failed(self._key, fell_back=False)
        elif not slot.succeeded(reply, seconds, self._key):
            way = REPEATED
        return way

    def _answer(self, reply: Reply, slot: Slot, number: int) -> None:
        if self._form == OWN:
            ids = ",".join([f'"{id_text(number + row)}"' for row in range(reply.rows)])
            body = b'{%s,"ids":[%s],%s' % (reply.body, ids.encode(), slot.tail)
        elif self._form == MLFLOW:
            body = b"{%s}" % reply.body
        else:
            body = b'{"model_name":"%s","model_version":"%d",%s}' % (slot.model.encode(), slot.version, reply.body)
        self._request.answer(200, body, b"%sx-prediction-id: %032x\r\n" % (slot.headers, number))

    def _error(self, reply: Reply) -> bytes:
        if self._form != MLFLOW:
            return reply.body
        document = json.loads(reply.body)
        code = "BAD_REQUEST" if reply.status < 500 else "INTERNAL_ERROR"
        return json.dumps({"error_code": code, "message": document["error"], **document}).encode()


def _named(route: Route, version: int | None, wish: bytes | None) -> Slot | None:
    """The release that the path, the header, or both ask for."""
    for number, slot in route.forced.items():
        if version in (None, number) and wish in (None, b"%d" % number):
            return slot
    return None


def _id_in(body: bytes, head: int, form: int, column: str) -> bytes | None:
    """The value of the id column in the first row, None if there is none. What is wrong is told by the model."""
    if len(body) > _MOST_TO_PARSE:
        return None
    try:
        document = parse(body[:head] if head else body)
        if form == OPEN_INFERENCE:
            found = next(tensor["data"] for tensor in document["inputs"] if tensor["name"] == column)
        elif isinstance(split := document.get("dataframe_split"), dict):
            found = split["data"][0][split["columns"].index(column)]
        else:
            rows = next(
                (document[name] for name in ("instances", "dataframe_records", "inputs") if name in document), document
            )
            found = rows[0][column] if isinstance(rows, list) else rows[column]
        while isinstance(found, list):
            found = found[0]
        return None if found is None else str(found).encode("utf-8", "replace")
    except (Refusal, KeyError, IndexError, TypeError, ValueError, AttributeError, StopIteration):
        return None
