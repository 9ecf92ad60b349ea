"""User code as content: which project files a script or module uses, and what of them can change a result.

A Python file counts by its syntax tree, written out again without comments and docstrings, so that reformatting
retrains nothing. Project imports are followed; imports of installed packages are named, so that their versions
can count. Pure: files are read through the function that is handed in.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from engine.core.canonical import digest_bytes

Read = Callable[[str], "bytes | None"]  # a path relative to the project → its bytes, None if there is no such file


@dataclass(frozen=True)
class Code:
    """The files that some user code consists of, each with its digest, and the installed packages it imports."""

    files: Mapping[str, str]
    imports: frozenset[str]


def code_of(entries: Iterable[str], read: Read) -> Code:
    """Follow the imports of the entry files (paths relative to the project) through the project."""
    files: dict[str, str] = {}
    imports: set[str] = set()
    queue = list(entries)
    while queue:
        path = queue.pop()
        if path in files:
            continue
        source = read(path)
        if source is None:
            continue
        tree = _parse(source) if path.endswith(".py") else None
        if tree is None:
            files[path] = digest_bytes(source)
            continue
        found, outside = _imports(tree, path, read)
        queue += found
        imports |= outside
        files[path] = digest_bytes(_normalised(tree).encode())
    return Code(dict(sorted(files.items())), frozenset(imports))


def module_files(module: str, read: Read, folder: str = "") -> list[str]:
    """The files behind a dotted module name: the module itself and the `__init__.py` of every package above it."""
    found: list[str] = []
    base = PurePosixPath(folder)
    parts = module.split(".")
    for i in range(1, len(parts) + 1):
        here = base.joinpath(*parts[:i])
        for candidate in (f"{here}/__init__.py", f"{here}.py"):
            if read(candidate) is not None:
                found.append(candidate)
                break
    return found


def command_files(argv: Iterable[str], read: Read) -> list[str]:
    """The project files that a command names: `python train.py`, `python -m jobs.train`, `Rscript fit.R`."""
    words = list(argv)
    found = []
    for i, word in enumerate(words):
        if i and words[i - 1] == "-m":
            found += module_files(word, read)
        elif not word.startswith("-") and "${" not in word and read(word) is not None:
            found.append(word)
    return found


def _parse(source: bytes) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError):
        return None


def _normalised(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body
            if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                node.body = body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _imports(tree: ast.Module, path: str, read: Read) -> tuple[list[str], set[str]]:
    """Project files and outside packages that a module imports, wherever in it the imports stand."""
    inside: list[str] = []
    outside: set[str] = set()
    here = PurePosixPath(path).parent
    for node in ast.walk(tree):
        for base, names in _imported(node, here):
            files = [
                file for name in names for folder in _folders(base, here) for file in module_files(name, read, folder)
            ]
            inside += files
            if not files and base is None:
                outside |= {name.split(".")[0] for name in names}
    return inside, outside - set(sys.stdlib_module_names)


def _folders(base: str | None, here: PurePosixPath) -> tuple[str, ...]:
    """Where an import may lie: for an absolute one the project's root, `src/`, and beside the importing file."""
    return (base,) if base is not None else ("", "src", str(here))


def _imported(node: ast.AST, here: PurePosixPath) -> list[tuple[str | None, list[str]]]:
    """(folder, or None for an absolute import; dotted names) of an import statement."""
    if isinstance(node, ast.Import):
        return [(None, [alias.name for alias in node.names])]
    if isinstance(node, ast.ImportFrom):
        prefix = f"{node.module}." if node.module else ""
        names = [f"{prefix}{alias.name}" for alias in node.names]
        if node.level == 0:
            return [(None, names)]
        folder = here
        for _ in range(node.level - 1):
            folder = folder.parent
        return [(str(folder), [*([node.module] if node.module else []), *names])]
    return []
