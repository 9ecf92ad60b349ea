"""The language of policies: a small part of Python's expressions, over plain JSON. `parse` reads, `Rule.holds` judges.

Names and their fields, texts, numbers, lists, `+ - * / %`, comparisons, `in`, `and or not`, parentheses, and the
functions `any all count lower like`, the first three over `… for gate in gates if …`. A field that is not there is
None, like one below it. simpleeval evaluates what `parse` lets through; there are no attributes of objects, no
methods and no loops without an end. Pure.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from engine.spec.expressions import ExpressionError

FUNCTIONS: Mapping[str, str] = {
    "any": "whether one of the values is true",
    "all": "whether every value is true, and there is one",
    "count": "how many of the values are true",
    "lower": "a text in lower case",
    "like": 'whether a text fits a pattern with * and ?, as in like(spec.training.estimator, "sklearn.*")',
}
_OVER_VALUES = ("any", "all", "count")
_OPERATORS = (
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Mod, ast.USub, ast.Not, ast.And, ast.Or,
    ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn,
)  # fmt: skip
_LONGEST, _DEEPEST, _LONGEST_VALUE = 2_000, 30, 60
_EXAMPLE = 'Write it like spec.owner and environment == "prod".'
_OPERATORS_TEXT = "There are + - * / %, comparisons, in, and, or, not."

Path = tuple[str, ...]


class RuleError(Exception):
    """A rule that cannot be judged: why."""


@dataclass(frozen=True)
class Rule:
    """A checked expression. `paths` are the fields that it reads, outside of what it goes through one by one."""

    text: str
    paths: tuple[Path, ...]

    @property
    def names(self) -> frozenset[str]:
        """What it is about."""
        return frozenset(path[0] for path in self.paths)

    def holds(self, facts: Mapping[str, Any]) -> bool:
        """Whether it is true. Raises RuleError where it cannot be told: that is never a yes."""
        return bool(_value(ast.parse(self.text, mode="eval").body, facts))

    def because(self, facts: Mapping[str, Any], *, true: bool) -> str:
        """What makes it true, or false: the fields of the parts that decide, with their values."""
        whole = ast.parse(self.text, mode="eval").body
        splits = ast.Or if true else ast.And
        parts = whole.values if isinstance(whole, ast.BoolOp) and isinstance(whole.op, splits) else [whole]
        deciding = [part for part in parts if _decides(part, facts, true)] or [whole]
        paths = dict.fromkeys(path for part in deciding for path in _paths(part, frozenset()))
        return ", ".join(f"{'.'.join(path)} is {shown(_at(facts, path))}" for path in paths)


def parse(text: str, names: Sequence[str]) -> Rule:
    """A rule over `names`. Raises ExpressionError for what is not in the language, and for other names."""
    if len(text) > _LONGEST:
        raise ExpressionError(f"has {len(text):,} characters", f"Write at most {_LONGEST:,}.")
    flat = " ".join(text.split())
    try:
        body = ast.parse(flat, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ExpressionError("cannot be read", _EXAMPLE) from None
    _check(body, frozenset(names), 0)
    return Rule(flat, tuple(dict.fromkeys(_paths(body, frozenset()))))


def shown(value: Any) -> str:
    """A value for people: a list of gates by their kinds, `not set` for what is not there."""
    if value is None or value == "":
        return "not set"
    if isinstance(value, list | tuple):
        return ", ".join(shown(_title(item)) for item in value)[:_LONGEST_VALUE] or "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = f'"{value}"' if isinstance(value, str) else f"{value}"
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _title(item: Any) -> Any:
    return item.get("kind", item) if isinstance(item, Mapping) else item


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────


def _check(node: ast.AST, names: frozenset[str], depth: int) -> None:
    if depth > _DEEPEST:
        raise ExpressionError("is nested too deeply", f"Nest at most {_DEEPEST} levels.")
    match node:
        case ast.Name(id=name):
            if name not in names:
                raise ExpressionError(f"speaks of {name}, which is nothing here", _known(name, names))
        case ast.Constant(value=value) if value is None or isinstance(value, bool | int | float | str):
            pass
        case ast.Attribute() | ast.Subscript() if _path(node):
            _check(node.value, names, depth + 1)
        case ast.List(elts=items) | ast.Tuple(elts=items):
            for item in items:
                _check(item, names, depth + 1)
        case ast.Call():
            _check_call(node, names, depth)
        case ast.BinOp() | ast.UnaryOp() | ast.BoolOp() | ast.Compare():
            operators: Sequence[ast.AST] = node.ops if isinstance(node, ast.Compare) else [node.op]
            if not all(isinstance(operator, _OPERATORS) for operator in operators):
                raise ExpressionError("uses an operator that policies do not have", _OPERATORS_TEXT)
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    _check(child, names, depth + 1)
        case _:
            raise ExpressionError(f"holds what policies do not have: {ast.unparse(node)[:60]}", _EXAMPLE)


def _check_call(node: ast.Call, names: frozenset[str], depth: int) -> None:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name not in FUNCTIONS:
        known = ", ".join(FUNCTIONS)
        raise ExpressionError(f"calls {ast.unparse(node.func)[:60]}, which is no function here", f"There are: {known}.")
    wanted = 2 if name == "like" else 1
    if len(node.args) != wanted or node.keywords:
        raise ExpressionError(f"gives {name} {len(node.args)} things, not {wanted}", f"{name}: {FUNCTIONS[name]}.")
    for argument in node.args:
        if name in _OVER_VALUES and isinstance(argument, ast.GeneratorExp):
            _check_loop(argument, names, depth)
        else:
            _check(argument, names, depth + 1)


def _check_loop(node: ast.GeneratorExp, names: frozenset[str], depth: int) -> None:
    [loop, *more] = node.generators
    if more or loop.is_async or not isinstance(loop.target, ast.Name):
        raise ExpressionError("goes through more than one list", "Write it like any(… for gate in gates).")
    _check(loop.iter, names, depth + 1)
    inside = names | {loop.target.id}
    for part in (node.elt, *loop.ifs):
        _check(part, inside, depth + 1)


def _known(name: str, names: frozenset[str]) -> str:
    from engine.spec.diagnostics import suggestion

    return suggestion(name, sorted(names), "There are")


def _paths(node: ast.AST, bound: frozenset[str]) -> Iterator[Path]:
    """The fields that an expression reads; `bound` are the names of what it goes through one by one."""
    path = _path(node)
    if path:
        if path[0] not in bound:
            yield path
        return
    if isinstance(node, ast.GeneratorExp):
        [loop] = node.generators
        yield from _paths(loop.iter, bound)
        inside = bound | {loop.target.id} if isinstance(loop.target, ast.Name) else bound
        for part in (node.elt, *loop.ifs):
            yield from _paths(part, inside)
        return
    for child in ast.iter_child_nodes(node):
        if not (isinstance(node, ast.Call) and child is node.func):
            yield from _paths(child, bound)


def _path(node: ast.AST) -> Path:
    match node:
        case ast.Name(id=name):
            return (name,)
        case ast.Attribute(value=inner, attr=name) | ast.Subscript(value=inner, slice=ast.Constant(value=str(name))):
            return (*before, name) if (before := _path(inner)) else ()
    return ()


# ── judging ──────────────────────────────────────────────────────────────────────────────────────────────────


def _decides(part: ast.expr, facts: Mapping[str, Any], true: bool) -> bool:
    try:
        return bool(_value(part, facts)) is true
    except RuleError:
        return True


def _value(node: ast.expr, facts: Mapping[str, Any]) -> Any:
    from simpleeval import EvalWithCompoundTypes, InvalidExpression

    evaluator = EvalWithCompoundTypes(names=dict(facts), functions=dict(_CALLS))
    evaluator.operators |= {ast.In: _among, ast.NotIn: lambda left, right: not _among(left, right)}
    evaluate: Callable[[ast.AST], Any] = evaluator._eval
    evaluator.nodes |= {
        ast.Attribute: lambda inner: _field(evaluate(inner.value), inner.attr),
        ast.Subscript: lambda inner: _field(evaluate(inner.value), inner.slice.value),
    }
    try:
        return evaluate(node)
    except (InvalidExpression, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise RuleError(_why(node, facts, error)) from None


def _why(node: ast.expr, facts: Mapping[str, Any], error: Exception) -> str:
    values = ", ".join(f"{'.'.join(p)} is {shown(_at(facts, p))}" for p in dict.fromkeys(_paths(node, frozenset())))
    return f"it cannot be judged ({values or error})"


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else None


def _at(facts: Mapping[str, Any], path: Path) -> Any:
    value: Any = facts
    for name in path:
        value = _field(value, name)
    return value


def _among(left: Any, right: Any) -> bool:
    return False if right is None else left in right


def _values(values: Any) -> Sequence[Any]:
    if not isinstance(values, list | tuple):
        raise TypeError("not a list")
    return values


def _like(text: Any, pattern: Any) -> bool:
    return isinstance(text, str) and fnmatchcase(text, pattern)


_CALLS: Mapping[str, Callable[..., Any]] = {
    "any": lambda values: any(_values(values)),
    "all": lambda values: bool(_values(values)) and all(values),
    "count": lambda values: sum(1 for value in _values(values) if value),
    "lower": lambda text: text.lower() if isinstance(text, str) else None,
    "like": _like,
}
