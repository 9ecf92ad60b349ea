"""How data contracts agree with the public cases of Great Expectations.

`python bench/scripts/expectations.py FOLDER`: its `tests/test_definitions`. Every case is counted once: it agrees, it
differs on purpose (named by why), it differs, or no check of a contract says the same.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from engine.core.verdict import Verdict
from engine.spec.contract import Contract
from engine.steps.contract import Setting, check_parts
from engine.steps.table_files import Parts

_ON_PURPOSE = {
    "test_error_handling_values_are_integers": "the length of a number is that of its text",
    "test_empty_column_should_be_vacuously_true": "a table without rows never passes",
    "positive_example_with_mostly_compare_number_to_text": "a column is one of numbers or of texts, not both",
    "a_negative_example_with_mismatched_null_values_and_ignore_row_if__both_values_are_missing_set_by_default": (
        "a condition leaves out rows that lack a value; missing is for those"
    ),
    "expect_column_pair_values_to_be_equal: a_negative_example": (
        "a condition leaves out rows that lack a value; missing is for those"
    ),
    "basic_test_ignore_if_all_are_missing_the_default_behavior": "a key must not be missing",
}
_KNOWN = {"column", "column_A", "column_B", "column_list", "mostly", "result_format", "catch_exceptions"}


def column(kwargs: dict[str, Any], rules: dict[str, Any]) -> dict[str, Any]:
    mostly = kwargs.get("mostly")
    return {"columns": {kwargs["column"]: rules | ({} if mostly is None else {"tolerance": round(1 - mostly, 9)})}}


def ends(kwargs: dict[str, Any]) -> list[Any]:
    return [kwargs.get("min_value"), kwargs.get("max_value")]


def counts(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in (("min", kwargs.get("min_value")), ("max", kwargs.get("max_value"))) if v is not None}


def contract_of(kind: str, kwargs: dict[str, Any]) -> tuple[dict[str, Any], set[str]] | None:
    """The contract that says the same, and the arguments that it takes in."""
    match kind:
        case "expect_column_values_to_be_between":
            return column(kwargs, {"between": ends(kwargs)}), {"min_value", "max_value"}
        case "expect_column_values_to_be_in_set" | "expect_column_distinct_values_to_be_in_set":
            return column(kwargs, {"in": kwargs.get("value_set")}), {"value_set"}
        case "expect_column_values_to_not_be_in_set":
            return column(kwargs, {"not_in": kwargs.get("value_set")}), {"value_set"}
        case "expect_column_values_to_match_regex":
            return column(kwargs, {"matches": kwargs.get("regex")}), {"regex"}
        case "expect_column_value_lengths_to_be_between":
            return column(kwargs, {"length": ends(kwargs)}), {"min_value", "max_value"}
        case "expect_column_value_lengths_to_equal":
            return column(kwargs, {"length": [kwargs.get("value")] * 2}), {"value"}
        case "expect_column_values_to_be_unique" if "mostly" not in kwargs:
            return column(kwargs, {"unique": True}), set()
        case "expect_column_values_to_not_be_null":
            return {"columns": {kwargs["column"]: {"missing": {"max": round(1 - kwargs.get("mostly", 1), 9)}}}}, set()
        case "expect_column_mean_to_be_between":
            return column(kwargs, {"mean": ends(kwargs)}), {"min_value", "max_value"}
        case "expect_column_unique_value_count_to_be_between":
            return column(kwargs, {"distinct": counts(kwargs)}), {"min_value", "max_value"}
        case "expect_table_row_count_to_be_between":
            return {"rows": counts(kwargs)}, {"min_value", "max_value"}
        case "expect_table_row_count_to_equal":
            return {"rows": {"min": kwargs.get("value"), "max": kwargs.get("value")}}, {"value"}
        case "expect_compound_columns_to_be_unique" if "mostly" not in kwargs:
            return {"keys": [kwargs["column_list"]]}, set()
        case "expect_column_to_exist":
            return column(kwargs, {"missing": {"max": 1.0}}), set()
        case "expect_column_pair_values_to_be_equal" | "expect_column_pair_values_a_to_be_greater_than_b":
            sign = "==" if kind.endswith("equal") else ">=" if kwargs.get("or_equal") else ">"
            expression = f'column("{kwargs["column_A"]}") {sign} column("{kwargs["column_B"]}")'
            tolerance = {"tolerance": round(1 - kwargs["mostly"], 9)} if "mostly" in kwargs else {}
            return {"checks": [{"name": "pair", "expression": expression} | tolerance]}, {"or_equal"}
    return None


def verdict_of(contract: dict[str, Any], data: dict[str, list[Any]], folder: Path) -> Verdict:
    resolved = Contract.model_validate(contract).model_dump(mode="json", by_alias=True, exclude_defaults=True)
    arrays = {}
    for name, values in data.items():
        try:
            arrays[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            arrays[name] = pa.array([None if v is None else str(v) for v in values], pa.string())
    table = pa.table(arrays)
    parts = Parts(list(arrays), True, iter(table.to_batches()))
    return check_parts(parts, resolved, Setting(datetime.now(timezone.utc), folder), None).verdict


def cases(folder: Path) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    for file in sorted(folder.rglob("*.json")):
        document = json.loads(file.read_text())
        for dataset in document["datasets"]:
            for test in dataset["tests"]:
                yield document["expectation_type"], test.get("title", ""), dataset["data"], test


def judged(kind: str, data: Any, test: dict[str, Any], folder: Path) -> str:
    kwargs = test["in"] if isinstance(test["in"], dict) else {}
    try:
        found = contract_of(kind, kwargs) if kwargs else None
    except KeyError:
        found = None
    only = test.get("only_for")
    if found is None or not isinstance(data, dict) or (only and not any(str(o).startswith("pandas") for o in only)):
        return "not covered: no such check, or a case of another backend"
    contract, taken = found
    further = {key for key, value in kwargs.items() if key not in _KNOWN | taken and value not in (None, False)}
    if further:
        return f"not covered: {', '.join(sorted(further))}"
    said = test["out"]
    expected = None if "error" in said or "success" not in said else bool(said["success"])
    try:
        ours = verdict_of(contract, data, folder)
    except ValidationError as error:
        why = re.sub(r"\s+", " ", str(error.errors()[0]["msg"]))[:60]
        return "agrees: refused by both" if expected is None else f"on purpose: refused in the spec ({why})"
    if expected is None:
        return "agrees: refused by both" if ours is not Verdict.PASS else "differs"
    if (ours is Verdict.PASS) == expected:
        return "agrees"
    if expected and ours is Verdict.INCONCLUSIVE:
        return "on purpose: nothing was looked at, which does not pass"
    return "differs"


def main(folder: Path) -> None:
    said: Counter[str] = Counter()
    with TemporaryDirectory() as scratch:
        for kind, title, data, test in cases(folder):
            verdict = judged(kind, data, test, Path(scratch))
            why = _ON_PURPOSE.get(title) or _ON_PURPOSE.get(f"{kind}: {title}")
            if verdict == "differs" and why:
                verdict = f"on purpose: {why}"
            said[verdict] += 1
            if verdict == "differs":
                print(f"{kind}: {title}: {json.dumps(test['in'])[:200]} gives {test['out'].get('success')}")
    for verdict, count in sorted(said.items(), key=lambda item: -item[1]):
        print(f"{count:5}  {verdict}")
    print(f"{sum(said.values()):5}  cases")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
