"""Beginning a project, and laying out its specs.

`create_project` writes a project that works as it stands: a spec, real data, a CI workflow. It never overwrites: files
that are there are left, and if one of them is a part of what it would make (the spec, the data, `engine.yaml`), nothing
is written at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.app.tokens import first_tokens
from engine.app.workspace import Workspace
from engine.errors import UsageError

TEMPLATES = Path(__file__).parent / "templates"
DATA = "telco_customer_churn.csv"
DEFAULT_NAME = "customer_churn"
BESIDE = frozenset({".gitignore", "README.md", ".github/workflows/engine.yml"})
"""What a repository may have one of its own of; the project works without ours."""


@dataclass(frozen=True)
class Created:
    """A project's folder, the files that were written there, and those that were there already, by relative path.

    `tokens` are the texts of the first tokens by what they are for, none where there are some.
    """

    folder: Path
    written: Sequence[str]
    present: Sequence[str]
    tokens: Mapping[str, str]


def create_project(folder: Path, name: str = DEFAULT_NAME) -> Created:
    """Write a new project. Raises UsageError for a name that no model can have, and for files in the way."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name):
        raise UsageError(
            f'"{name}" cannot be the name of a model', remedy="Use lower-case letters, digits, _ and -, a letter first."
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", remedy="Name a folder.")
    wanted = _contents(name)
    present = [path for path in wanted if (folder / path).exists()]
    differing = [path for path in present if path not in BESIDE and (folder / path).read_bytes() != wanted[path]]
    if differing:
        raise UsageError(
            f"{', '.join(differing)} would be overwritten, so nothing was written",
            remedy="Name an empty folder: engine init my_project",
        )
    written = [path for path in wanted if path not in present]
    for path in written:
        target = folder / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(wanted[path])
        except OSError as error:
            raise UsageError(f"{target} cannot be written: {error.strerror}", remedy="Name another folder.") from error
    tokens = first_tokens(Workspace(folder.resolve()))
    return Created(folder, written, present, {purpose.value: text for purpose, text in tokens.items()})


def lay_out(files: Sequence[Path], *, write: bool) -> list[Path]:
    """The spec files that are not in the canonical layout; they are rewritten if `write`. Raises UsageError."""
    from engine.spec.format import format_text

    changed = []
    for path in files:
        try:
            before = path.read_bytes().decode("utf-8")
            after = format_text(before)
            if after != before:
                changed.append(path)
                if write:
                    _replace(path, after)
        except UnicodeDecodeError:
            raise UsageError(f"{path} is not UTF-8", remedy="See: engine validate") from None
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}", remedy="Check its permissions.") from error
    return changed


def _replace(path: Path, text: str) -> None:
    """Put the new text in the file's place in one step, so that no crash leaves half a spec."""
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.partial")
    temporary.write_text(text, encoding="utf-8", newline="")
    temporary.chmod(target.stat().st_mode & 0o777)
    temporary.replace(target)


def _contents(name: str) -> dict[str, bytes]:
    """Every file of a new project, by relative path."""
    from engine.kinds import KINDS
    from engine.spec.schema import render

    def template(file: str) -> bytes:
        return (TEMPLATES / file).read_bytes().replace(b"@NAME@", name.encode())

    return {
        "engine.yaml": template("engine.yaml"),
        f"specs/{name}.yaml": template("spec.yaml"),
        f"data/{DATA}": (TEMPLATES / DATA).read_bytes(),
        **{f"schemas/{file}": text.encode() for file, text in render(KINDS).items()},
        ".gitignore": template("gitignore"),
        ".github/workflows/engine.yml": template("workflow.yml"),
        "README.md": template("README.md"),
    }
