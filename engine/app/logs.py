"""The prediction log of a project, to read and to add actual values to, with or without a gateway that runs."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from engine.app.workspace import Workspace
from engine.errors import Diagnostic, SpecError, TransientError, UsageError

if TYPE_CHECKING:
    from engine.serving.feedback import Label, Taken
    from engine.serving.prediction_log_format import Prediction

_AT_ONCE = 5000  # labels in a transaction
_MOST_MISTAKES = 50


def predictions(
    workspace: Workspace,
    model: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> Iterator[Prediction]:
    """What a model predicted, with actual values as far as they are known. Raises UsageError for an unknown model."""
    from engine.serving.prediction_log_files import read_log

    folder = workspace.serving
    _logged(workspace, model)
    return read_log(folder, model, since, until, limit, newest_first=newest_first)


def import_feedback(workspace: Workspace, model: str, path: Path, id_column: str, actual_column: str) -> Taken:
    """Take the labels of a CSV file. Raises SpecError with every row that cannot be read, before any is taken."""
    from engine.serving.feedback import Desk, Taken

    _logged(workspace, model)
    labels = _labels(path, id_column, actual_column)
    desk, total = Desk(workspace.serving, model, workspace.clock), Taken()
    left = iter(sorted(labels, key=lambda label: label.id))  # as the log lies
    try:
        while some := list(islice(left, _AT_ONCE)):
            total.add(desk.take(some))
    except sqlite3.Error as error:
        raise TransientError(
            f"the feedback cannot be kept now: {error}",
            remedy=f"{total.accepted:,} labels were; import the file again: what was taken is not counted twice.",
        ) from error
    finally:
        desk.close()
    return total


def _logged(workspace: Workspace, model: str) -> None:
    """Raise UsageError for a model without a log."""
    from engine.serving.prediction_log_files import LOG

    folder = workspace.serving / LOG
    known = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if model not in known:
        has = f"Logged so far: {', '.join(known)}." if known else "Predictions are logged by engine serve."
        raise UsageError(f"no prediction of {model} has been logged", remedy=has)


def _labels(path: Path, id_column: str, actual_column: str) -> Sequence[Label]:
    from engine.serving.feedback import Label

    labels, mistakes = [], []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            missing = [name for name in (id_column, actual_column) if name not in (rows.fieldnames or ())]
            if missing:
                has = ", ".join(rows.fieldnames or ()) or "none"
                raise _unreadable(path, 1, f"no column {' and '.join(missing)}", f"The columns are: {has}.")
            for row in rows:
                empty = [name for name in (id_column, actual_column) if not (row[name] or "").strip()]
                if empty:
                    mistakes.append(Diagnostic(str(path), rows.line_num, 1, f"{' and '.join(empty)} is empty", ""))
                elif None in row:
                    mistakes.append(Diagnostic(str(path), rows.line_num, 1, "there are more values than columns", ""))
                else:
                    labels.append(Label(row[id_column].strip(), row[actual_column].strip()))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _unreadable(path, 0, "the file is not UTF-8", "Save it as UTF-8.") from error
    except csv.Error as error:
        raise _unreadable(
            path, rows.reader.line_num, f"this is no CSV: {error}", "Quote values that hold a quote."
        ) from error
    if mistakes:
        raise SpecError(mistakes[:_MOST_MISTAKES])
    return labels


def _unreadable(path: Path, line: int, message: str, remedy: str) -> SpecError:
    return SpecError([Diagnostic(str(path), line, 1 if line else 0, message, remedy)])
