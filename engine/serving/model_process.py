"""A model in a process of its own: reads requests from a socket, predicts whatever waits in one batch, replies.

Every file is read once, and its bytes are verified before anything is made of them. A model is compiled where its
answers are proven equal on the hold-out. The process is ready when the golden predictions, recorded by the evaluation,
came out the same through the same code that answers requests. A batch that fails is tried request by request, so that
one that cannot be answered takes no other with it.
"""

from __future__ import annotations

import io
import json
import os
import socket
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import EngineError
from engine.serving.answers import Renderer
from engine.serving.files import ModelFiles
from engine.serving.payloads import Reader, Rows, check_values
from engine.serving.refusal import Refusal
from engine.serving.signature import Signature
from engine.serving.template import drop_capabilities
from engine.serving.wire import OWN, Hello, Reply, Request, Requests, reply_frame

if TYPE_CHECKING:
    from engine.serving.compiled import Answering
    from engine.steps.model_files import LoadedModel
    from engine.steps.stored_files import StoredFile

_RECEIVE = 1 << 20  # bytes at once
_MOST_ROWS = 4096  # of several requests in one batch
_TOLERANCE = 1e-6  # of golden probabilities, and relative of golden values


def serve_model(channel: socket.socket, request: Mapping[str, Any]) -> None:
    """Load the model that `request` names (see `ModelFiles.to_request`), then answer until EOF."""
    try:
        answerer = Answerer(ModelFiles.of_request(request), Path(request["private"]))
        drop_capabilities()  # now that the files were read, which may belong to another user
        hello = answerer.prove()
    except EngineError as error:
        hello = Hello(reason=" ".join(filter(None, (f"{error.message.rstrip('.')}.", error.remedy))))
    except Exception as error:  # noqa: BLE001 - a model file may raise anything
        traceback.print_exc()
        hello = Hello(reason=f"the model cannot be loaded: {type(error).__name__}")
    channel.sendall(hello.to_bytes())
    if hello.reason:
        return
    requests = Requests()
    while data := channel.recv(_RECEIVE):
        batch = list(requests.feed(data))
        for replies in answerer.answer(batch):
            channel.sendall(b"".join([reply_frame(reply) for reply in replies]))


class Answerer:
    """Requests in, replies out, for one loaded model."""

    def __init__(self, files: ModelFiles, private: Path) -> None:
        from engine.serving.compiled import Plain
        from engine.steps.model_files import load_stored

        model = load_stored(files.model, private, signed=files.signed())
        self._signature = Signature.of(model.meta, files.id_column)
        self._answering: Answering = Plain(model)
        self._path = "plain: there is no hold-out to prove anything with"
        if files.holdout is not None:
            self._answering, self._path = _fastest(model, files.holdout)
        report = json.loads(files.evaluation.read("evaluation.json")) if files.evaluation else {}
        self._golden: Mapping[str, Any] | None = (report.get("serving") or {}).get("golden")
        score_range = (report.get("serving") or {}).get("score_range")
        self._reader = Reader(self._signature)
        self._renderer = Renderer(self._signature, tuple(score_range) if score_range else None)

    def prove(self) -> Hello:
        """Answer the golden rows; ready if the answers are the recorded ones."""
        hello = {"signature": self._signature.to_json(), "path": self._path, "pid": os.getpid()}
        if self._golden is None:
            return Hello(golden="none", **hello)  # type: ignore[arg-type]
        from engine.serving.golden import difference

        body = json.dumps({"instances": self._golden["rows"]}).encode()
        reply = next(self.answer([Request(0, OWN, 0, body)]))[0]
        if reply.status != 200:
            return Hello(reason=f"the golden rows are not answered: {reply.body.decode()[:300]}", golden="different")
        unlike = difference(self._golden, json.loads(b"{" + reply.body + b"}"), _TOLERANCE)
        if unlike:
            return Hello(reason=unlike, golden="different")
        return Hello(golden="same", **hello)  # type: ignore[arg-type]

    def answer(self, requests: Sequence[Request]) -> Iterator[list[Reply]]:
        """A reply for each request, in any order, as they come: the next request may be the last of this process."""
        refused: list[Reply] = []
        batch: list[tuple[Request, Rows]] = []
        waiting = 0
        for request in requests:
            try:
                rows = self._reader.read(request)
            except Refusal as refusal:
                refused.append(_refused(request, refusal))
                continue
            except Exception:  # noqa: BLE001 - whatever one payload does to the reader, others wait for this process
                traceback.print_exc()
                refused.append(_failed(request, "the payload could not be read"))
                continue
            if waiting and waiting + len(rows.table) > _MOST_ROWS:
                yield from self._predicted(batch)
                batch, waiting = [], 0
            batch.append((request, rows))
            waiting += len(rows.table)
        if refused:
            yield refused
        if batch:
            yield from self._predicted(batch)

    def _predicted(self, batch: Sequence[tuple[Request, Rows]]) -> Iterator[list[Reply]]:
        try:
            yield self._together(batch)
            return
        except Exception:  # noqa: BLE001 - a model may raise anything
            if len(batch) == 1:
                yield [self._not_answered(*batch[0])]
                return
        for each in batch:
            yield from self._predicted([each])

    def _not_answered(self, request: Request, rows: Rows) -> Reply:
        """What to say of a request at which the model raised; called while the exception is handled."""
        try:
            check_values(self._signature, list(zip(*rows.table, strict=True)))
        except Refusal as refusal:
            return _refused(request, refusal)
        traceback.print_exc()
        return _failed(request, "the model failed")

    def _together(self, batch: Sequence[tuple[Request, Rows]]) -> list[Reply]:
        table = batch[0][1].table if len(batch) == 1 else [row for _, rows in batch for row in rows.table]
        count = len(table)
        columns = dict(zip(self._signature.names, zip(*table, strict=True), strict=True))
        found, probabilities = self._answering.answers(columns, count)
        answers = self._renderer.checked(found, probabilities, count)
        replies, start = [], 0
        for request, rows in batch:
            replies.append(self._renderer.reply(request, rows, answers, start))
            start += len(rows.table)
        return replies


def _fastest(model: LoadedModel, holdout: StoredFile) -> tuple[Answering, str]:
    """The compiled form where it is proven equal, else the plain one; and which it is."""
    from engine.serving.compiled import NotCompiled, Plain, compile_model
    from engine.steps.table import read_parquet

    sample = read_parquet(io.BytesIO(holdout.read("holdout.parquet")))
    compiled = compile_model(model, sample)
    if isinstance(compiled, NotCompiled):
        return Plain(model, sample), f"plain: {compiled.reason}"
    return compiled, "compiled"


def _refused(request: Request, refusal: Refusal) -> Reply:
    text = json.dumps({"error": refusal.message, "details": list(refusal.details)})
    return Reply(request.job, refusal.status, 0, 0.0, 0.0, b"", text.encode())


def _failed(request: Request, message: str) -> Reply:
    return Reply(request.job, 500, 0, 0.0, 0.0, b"", json.dumps({"error": message}).encode())
