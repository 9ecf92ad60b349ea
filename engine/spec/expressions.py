"""The language of figures over the prediction log: what may stand in an expression. Nothing is evaluated here.

Row-wise: columns, numbers, texts, `+ - * / //  %`, comparisons, `in`, `and or not`, parentheses, `abs`. Around them
aggregates: `sum mean count min max`. The whole is a number: every column stands inside of an aggregate.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

AGGREGATES = ("sum", "mean", "count", "min", "max")
ROW_FUNCTIONS = ("abs", "column")
_OPERATORS = (
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.USub, ast.UAdd, ast.Not, ast.And, ast.Or,
    ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn,
)  # fmt: skip
_LONGEST, _DEEPEST = 2_000, 30
_EXAMPLE = 'Write it like sum(prediction == "yes" and actual == "no") * 12.5.'
_ROW_EXAMPLE = "Write it like total >= monthly."


class ExpressionError(Exception):
    """What is wrong with an expression, and how to mend it."""

    def __init__(self, message: str, remedy: str = _EXAMPLE) -> None:
        super().__init__(message)
        self.remedy = remedy


def check_expression(text: str) -> tuple[str, ...]:
    """The columns that an expression reads, sorted. Raises ExpressionError for what is not in the language."""
    return _columns(text, of_rows=False)


def check_condition(text: str) -> tuple[str, ...]:
    """The same of a condition on a single row, without aggregates. Raises ExpressionError too when it reads none."""
    try:
        found = _columns(text, of_rows=True)
    except ExpressionError as error:
        if str(error).endswith("inside of another aggregate"):
            raise ExpressionError(
                f"{str(error).partition(' inside')[0]}, but is about one row", "Compare columns."
            ) from None
        raise ExpressionError(str(error), error.remedy.replace(_EXAMPLE, _ROW_EXAMPLE)) from None
    if not found:
        raise ExpressionError("reads no column", _ROW_EXAMPLE)
    return found


def _columns(text: str, *, of_rows: bool) -> tuple[str, ...]:
    if len(text) > _LONGEST:
        raise ExpressionError(f"has {len(text):,} characters", f"Write at most {_LONGEST:,}.")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ExpressionError("cannot be read") from None
    found: set[str] = set()
    _check(tree.body, found, inside=of_rows, depth=0)
    return tuple(sorted(found))


def _check(node: ast.AST, found: set[str], *, inside: bool, depth: int) -> None:
    """`inside`: of an aggregate."""
    if depth > _DEEPEST:
        raise ExpressionError("is nested too deeply", f"Nest at most {_DEEPEST} levels.")
    match node:
        case ast.Call():
            _check_call(node, found, inside=inside, depth=depth)
        case ast.Name(id=name):
            if not inside:
                raise ExpressionError(
                    f"uses the column {name} outside of an aggregate", f"Write one around it, like mean({name})."
                )
            found.add(name)
        case ast.Constant(value=value) if isinstance(value, bool | int | float | str):
            pass
        case ast.List(elts=items) | ast.Tuple(elts=items) if items and all(isinstance(i, ast.Constant) for i in items):
            pass
        case ast.BinOp() | ast.UnaryOp() | ast.BoolOp() | ast.Compare():
            operators: Sequence[ast.AST] = node.ops if isinstance(node, ast.Compare) else [node.op]
            if not all(isinstance(operator, _OPERATORS) for operator in operators):
                raise ExpressionError("uses an operator that figures do not have", _operators_text())
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    _check(child, found, inside=inside, depth=depth + 1)
        case _:
            raise ExpressionError(f"holds what figures do not have: {ast.unparse(node)[:60]}")


def _check_call(node: ast.Call, found: set[str], *, inside: bool, depth: int) -> None:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name not in (*AGGREGATES, *ROW_FUNCTIONS):
        known = ", ".join((*AGGREGATES, *ROW_FUNCTIONS))
        raise ExpressionError(f"calls {ast.unparse(node.func)[:60]}, which is no function here", f"There are: {known}.")
    if len(node.args) != 1 or node.keywords:
        raise ExpressionError(f"gives {name} not just one thing", f"Write {name}(…) with one expression.")
    [argument] = node.args
    if name == "column":
        if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
            raise ExpressionError("names a column by something else than text", 'Write it like column("total charge").')
        if not inside:
            raise ExpressionError(
                f"uses the column {argument.value} outside of an aggregate", "Write one around it, like mean(…)."
            )
        found.add(argument.value)
        return
    if name in AGGREGATES and inside:
        raise ExpressionError(f"has {name} inside of another aggregate", "Aggregate once.")
    _check(argument, found, inside=inside or name in AGGREGATES, depth=depth + 1)


def _operators_text() -> str:
    return "There are + - * / // %, comparisons, in, and, or, not."
