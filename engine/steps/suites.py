"""A Great Expectations suite, run as it is, by Great Expectations itself, where that is installed.

Stricter than its own verdict in two ways: a suite without expectations, and an expectation that looked at no value, are
inconclusive. The whole table is read into memory, with the types that training sees. Nothing is sent anywhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from engine.core.contract import MASKED, MOST_EXAMPLES, Example, Finding, shown, shown_share
from engine.core.verdict import Verdict
from engine.errors import StepError

_ASIDE = {"column", "batch_id", "mostly", "result_format"}


def check_suite(
    path: Path, suite: Path, format: str | None, missing: Sequence[str] | None, personal: frozenset[str]
) -> tuple[Finding, ...]:
    """A finding for each expectation on the table at `path`. Raises StepError for what cannot be run."""
    from engine.steps.table import read_table

    document = _read(suite)
    frame, _ = read_table(path, format=format, missing=missing)
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    try:
        gx: Any = import_module("great_expectations")
    except ImportError:
        raise StepError(
            f"{suite.name} is a suite of Great Expectations, which is not installed",
            remedy="Install it: pip install 'great_expectations>=1.5'. Or say in data.expect what is expected.",
        ) from None
    expectations = document["expectations"]
    if not expectations:
        text = f"{suite.name} has no expectations"
        return (Finding("suite", "", Verdict.INCONCLUSIVE, text, 0, len(frame)),)
    context = gx.get_context(mode="ephemeral")
    try:
        made = context.suites.add(gx.ExpectationSuite(name=document["name"], expectations=expectations))
    except Exception as error:
        raise StepError(f"{suite.name} is no suite that Great Expectations reads: {_first(error)}") from error
    asset = context.data_sources.add_pandas("data").add_dataframe_asset("data")
    batch = asset.add_batch_definition_whole_dataframe("data").get_batch({"dataframe": frame})
    results = batch.validate(made).to_json_dict()["results"]
    place = {_key(each): number for number, each in reversed(list(enumerate(expectations)))}
    ordered = sorted(results, key=lambda result: place.get(_key(result["expectation_config"]), len(place)))
    return tuple(_findings(ordered, personal))


def _read(suite: Path) -> dict[str, Any]:
    """A suite's document as versions from 1.0 write it; older ones named two of its keys otherwise."""
    try:
        document = json.loads(suite.read_text(encoding="utf-8"))
        listed = [
            {
                "type": each.get("type") or each["expectation_type"],
                "kwargs": dict(each.get("kwargs") or {}),
                "meta": each.get("meta") or {},
            }
            for each in document["expectations"]
        ]
        name = document.get("name") or document.get("expectation_suite_name") or suite.stem
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise StepError(f"{suite.name} is no suite of Great Expectations: {_first(error)}") from error
    return {"name": str(name), "expectations": listed}


def _key(expectation: Mapping[str, Any]) -> tuple[str, str]:
    """What tells expectations apart well enough to bring results, which come in any order, into the suite's."""
    return str(expectation["type"]), str(expectation["kwargs"].get("column"))


def _findings(results: Sequence[Mapping[str, Any]], personal: frozenset[str]) -> Iterator[Finding]:
    for result in results:
        config, found = result["expectation_config"], result.get("result") or {}
        kwargs = config["kwargs"]
        check = str(config["type"]).removeprefix("expect_")
        column = str(kwargs.get("column") or "")
        asked = {name: value for name, value in kwargs.items() if name not in _ASIDE and value is not None}
        what = f"{column}: {check}" if column else check
        what += f" {json.dumps(asked, ensure_ascii=False, default=str)}" if asked else ""
        raised = _raised(result.get("exception_info") or {})
        if raised:
            yield Finding(check, column, Verdict.ERROR, f"{what}: {raised}")
            continue
        rows = found.get("element_count")
        looked = None if rows is None else rows - (found.get("missing_count") or 0)
        if looked == 0:
            yield Finding(check, column, Verdict.INCONCLUSIVE, f"{what}: no value to look at")
        elif result["success"]:
            yield Finding(check, column, Verdict.PASS, what, found.get("unexpected_count") or 0, looked or 0)
        else:
            masked = bool(personal & {str(value) for value in _texts(kwargs)})
            yield _broken(check, column, what, found, looked, masked)


def _broken(check: str, column: str, what: str, found: Mapping[str, Any], looked: int | None, masked: bool) -> Finding:
    count = found.get("unexpected_count") or 0
    rows = (found.get("partial_unexpected_index_list") or ())[:MOST_EXAMPLES]
    values = (found.get("partial_unexpected_list") or ())[:MOST_EXAMPLES]
    examples = tuple(
        Example(int(row) + 1, MASKED if masked else shown(value)) for row, value in zip(rows, values, strict=False)
    )
    text = f"{what}: does not hold"
    if looked and count:
        text += f" for {count:,} of {looked:,} ({shown_share(count / looked)})"
    elif "observed_value" in found and not masked:
        text += f", there is {shown(found['observed_value'])}"
    if examples:
        text += f" ({'; '.join(map(str, examples))}{'; …' if count > len(examples) else ''})"
    return Finding(check, column, Verdict.FAIL, text, count or 1, looked or 0, examples)


def _texts(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
    else:
        yield value


def _raised(info: Mapping[str, Any]) -> str:
    """What an expectation raised, from either form that its notes come in; empty if nothing."""
    notes = [info] if "raised_exception" in info else [each for each in info.values() if isinstance(each, Mapping)]
    return next(
        (_first(each.get("exception_message") or "error") for each in notes if each.get("raised_exception")), ""
    )


def _first(error: object) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
