"""A request's payload → columns of values, or a Refusal that names every mistake by row and column.

Strict JSON: UTF-8, no NaN or Infinity, no key twice. Accepted are our own form, MLflow's scoring payloads
(`dataframe_split`, `dataframe_records`, `instances`, `inputs`) and the Open Inference Protocol's tensors.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, NoReturn

import orjson

from engine.serving import tensors
from engine.serving.compiled.dates import microseconds
from engine.serving.refusal import Refusal
from engine.serving.signature import TAKES, WORDS, Signature, list_of
from engine.serving.wire import MLFLOW, OPEN_INFERENCE, Request

MLFLOW_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
INFINITY = float("inf")  # 1e999 is JSON
_LARGE = 3.4e38  # beyond it are numbers that are no 32-bit floats, in which trees compute
_MOST_DETAILS = 20
_REMEMBERED = 4096


class Rows(NamedTuple):
    """The features of some rows, checked: a tuple of JSON values for each row, in the signature's order."""

    table: Sequence[tuple[Any, ...]]
    id: str | None = None  # the client's own, of the Open Inference Protocol


class Reader:
    """Reads payloads for one model."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._takes = tuple(TAKES[kind] for _, kind in signature.features)
        self._features: Callable[[Any], tuple[Any, ...]] = _values_of(signature.names)
        self._known: set[tuple[type, ...]] = set()  # combinations of types that were found right

    def read(self, request: Request) -> Rows:
        """The rows of a request. Raises Refusal."""
        if request.form == OPEN_INFERENCE:
            head, tail = (
                (request.body[: request.head], request.body[request.head :])
                if request.head
                else (
                    request.body,
                    b"",
                )
            )
            return self._tensors(_object(parse(head)), tail)
        document = _object(parse(request.body))
        return self._mlflow(document) if request.form == MLFLOW else self._own(document)

    # ── forms ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _own(self, document: Mapping[str, Any]) -> Rows:
        instances = document.get("instances")
        if not isinstance(instances, list):
            return self._records([document])
        if len(document) > 1:
            others = sorted(document.keys() - {"instances"})
            raise Refusal(422, f"beside instances nothing is expected: {list_of(others)}")
        return self._records(instances)

    def _mlflow(self, document: Mapping[str, Any]) -> Rows:
        found = [name for name in MLFLOW_FORMS if name in document]
        others = sorted(document.keys() - {*MLFLOW_FORMS, "params"})
        if len(found) != 1 or others:
            raise Refusal(
                422, f"one of {', '.join(MLFLOW_FORMS)} is expected, not {list_of(sorted(document)) or 'nothing'}"
            )
        params = document.get("params")
        if params:
            names = f": {list_of(sorted(params))}" if isinstance(params, dict) else ""
            raise Refusal(422, f"the model takes no params{names}")
        name, value = found[0], document[found[0]]
        if name == "dataframe_split":
            return self._split(value)
        if name == "inputs" and isinstance(value, dict):
            return self._by_column(value)
        if not isinstance(value, list):
            raise Refusal(422, f"{name} must be a list")
        if value and isinstance(value[0], list):
            return self._table(self._signature.names, value, name)
        return self._records(value)

    def _split(self, value: Any) -> Rows:
        if not isinstance(value, dict) or not isinstance(value.get("data"), list):
            raise Refusal(422, "dataframe_split must be an object with columns and data")
        columns = value.get("columns", list(self._signature.names))
        others = sorted(value.keys() - {"columns", "index", "data"})
        if others or not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
            raise Refusal(
                422, "dataframe_split must be an object with columns (a list of names), data and, at most, index"
            )
        return self._table(columns, value["data"], "dataframe_split.data")

    def _tensors(self, document: Mapping[str, Any], tail: bytes) -> Rows:
        columns = tensors.columns_of(document, tail, self._signature)
        return Rows(self._by_column(columns).table, document.get("id"))

    # ── shapes ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _records(self, records: Sequence[Any]) -> Rows:
        if not records:
            raise Refusal(422, "there are no rows")
        features, count = self._features, len(self._signature.names)
        table = []
        try:
            for record in records:
                row = features(record)
                if INFINITY in row or -INFINITY in row:
                    self._refuse(records)
                types = tuple(map(type, row))
                if types not in self._known:
                    self._learn(types, records)
                if len(record) != count and not self._only_id_beside(record):
                    self._refuse(records)
                table.append(row)
        except (KeyError, TypeError, IndexError):
            self._refuse(records)
        return Rows(table)

    def _by_column(self, columns: Mapping[str, Any]) -> Rows:
        lists = {name: values if isinstance(values, list) else [values] for name, values in columns.items()}
        lists = {name: _flat(values) for name, values in lists.items()}
        lengths = {name: len(values) for name, values in lists.items()}
        if len(set(lengths.values())) > 1:
            shown = list_of([f"{name} {length}" for name, length in lengths.items()])
            raise Refusal(422, f"the columns are not equally long: {shown}")
        return self._table(list(lists), list(zip(*lists.values(), strict=True)), "rows")

    def _table(self, names: Sequence[str], rows: Sequence[Any], what: str) -> Rows:
        if len(set(names)) != len(names):
            twice = sorted(name for name, count in Counter(names).items() if count > 1)
            raise Refusal(422, f"columns are named twice: {list_of(twice)}")
        wrong = [
            {"row": number, "problem": f"{len(names)} values are expected"}
            for number, row in enumerate(rows)
            if not isinstance(row, (list, tuple)) or len(row) != len(names)
        ]
        if wrong:
            raise Refusal(422, f"{what}: {len(wrong)} rows are not lists of {len(names)} values", wrong[:_MOST_DETAILS])
        return self._records([dict(zip(names, row, strict=True)) for row in rows])

    # ── checks ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _learn(self, types: tuple[type, ...], records: Sequence[Any]) -> None:
        if not all(kind in takes for kind, takes in zip(types, self._takes, strict=True)):
            self._refuse(records)
        if len(self._known) < _REMEMBERED:
            self._known.add(types)

    def _only_id_beside(self, record: Mapping[str, Any]) -> bool:
        signature = self._signature
        return signature.id in record and len(record) == len(signature.names) + 1

    def _refuse(self, records: Iterable[Any]) -> NoReturn:
        """Tell all that is wrong with the rows."""
        details: list[dict[str, Any]] = []
        for number, record in enumerate(records):
            details += [{"row": number, **mistake} for mistake in self._mistakes(record)]
            if len(details) > _MOST_DETAILS:
                break
        raise Refusal(422, _summary(details), details[:_MOST_DETAILS])

    def _mistakes(self, record: Any) -> list[dict[str, Any]]:
        if not isinstance(record, dict):
            return [{"problem": "an object with a value for each column is expected"}]
        signature = self._signature
        found = []
        for name, kind in signature.features:
            if name not in record:
                found.append({"column": name, "problem": "is missing"})
            elif type(record[name]) not in TAKES[kind]:
                found.append({"column": name, "problem": f"{WORDS[kind]} is expected, not {_told(record[name])}"})
            elif record[name] in (INFINITY, -INFINITY):
                found.append({"column": name, "problem": "the number is beyond the range of 64-bit floats"})
        for name in record:
            if name not in signature.kinds and name != signature.id:
                found.append({"column": name[:200], "problem": "is not a column of this model"})
        return found


def check_values(signature: Signature, columns: Sequence[Sequence[Any]]) -> None:
    """Whether values of the right types are what the kinds take. Raises Refusal.

    Asked only when a model could not answer: it is too slow to ask always, and many models can compute with numbers
    as large as 64 bits allow. Those that cannot overflow, or raise; that is no failure of the model.
    """
    details = []
    for (name, kind), values in zip(signature.features, columns, strict=True):
        for row, value in enumerate(values):
            problem = _problem(kind, value)
            if problem:
                details.append({"row": row, "column": name, "problem": problem})
    if details:
        raise Refusal(422, _summary(details), details[:_MOST_DETAILS])


def _problem(kind: str, value: Any) -> str:
    if value is None or kind not in ("date", "numeric"):
        return ""
    try:
        if kind == "date":
            microseconds(value)
        elif abs(float(value)) > _LARGE:
            return f"the model has no finite answer for a number as large as {_told(value)}"
    except (ValueError, OverflowError):
        return f"{WORDS[kind]} is expected, not {_told(value)}"
    return ""


def _summary(details: Sequence[Mapping[str, Any]]) -> str:
    shown = "; ".join(
        f"row {detail['row']}: " + (f"{detail['column']}: " if "column" in detail else "") + detail["problem"]
        for detail in details[:3]
    )
    return f"the rows do not fit the model: {shown}" + (", and more" if len(details) > 3 else "")


def _values_of(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """What takes the values of these keys out of a record."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda record: tuple([record[name] for name in names])


def parse(body: bytes) -> Any:
    """Strict JSON. Raises Refusal.

    The fast parser takes the last of two equal keys, and refuses a few things that are JSON (1e999). Each key has a
    colon: where there are as many colons as keys were found, none was there twice. All else is parsed again.
    Half a surrogate pair (\\ud800) is refused, as in I-JSON (RFC 7493).
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _parse_strictly(body)
    return document if _keys_of(document) == body.count(b":") else _parse_strictly(body)


def _keys_of(document: Any) -> int:
    """How many keys there are, at the depths at which payloads have them: no more than there are."""
    if type(document) is not dict:
        return 0
    count = len(document)
    for value in document.values():
        if type(value) is list:
            count += sum([len(each) for each in value if type(each) is dict])
        elif type(value) is dict:
            count += len(value)
    return count


def _parse_strictly(body: bytes) -> Any:
    try:
        document = _DECODER.decode(body.decode("utf-8"))
        if b"\\u" in body:
            json.dumps(document, ensure_ascii=False).encode()
        return document
    except UnicodeEncodeError:  # no program that reads it later could write it down
        raise Refusal(400, "the body holds one half of a surrogate pair, which is no character") from None
    except UnicodeDecodeError:
        raise Refusal(400, "the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise Refusal(400, f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise Refusal(400, "the body is nested too deeply") from None
    except ValueError:  # a whole number of thousands of digits
        raise Refusal(400, "the body holds a number that is too long") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise Refusal(400, f"the key {json.dumps(twice[:200])} is there twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise Refusal(400, f"{name} is not JSON", [{"problem": "write null for a missing value"}])


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def _object(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise Refusal(422, "a JSON object is expected")
    return document


def _flat(values: list[Any]) -> list[Any]:
    """A column that came as a matrix of one column."""
    if values and all(isinstance(value, list) and len(value) == 1 for value in values):
        return [value[0] for value in values]
    return values


def _told(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "…"
