"""A loader with the built-in kinds, for specs written as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from engine.errors import Diagnostic, SpecError
from engine.kinds import KINDS
from engine.spec.load import LoadedSpec, load_spec
from engine.spec.project import load_project

FILES = {"features.py", "train.py", "lib", "split.csv"}
Load = Callable[..., LoadedSpec]
Mistakes = Callable[..., list[Diagnostic]]


def load_text(
    text: str | bytes,
    *,
    project: str = "",
    environment: str | None = None,
    variables: Mapping[str, str] | None = None,
) -> LoadedSpec:
    content = text.encode() if isinstance(text, str) else text
    return load_spec(
        content,
        "spec.yaml",
        project=load_project(project.encode()),
        kinds=KINDS,
        environment=environment,
        variables=variables,
        exists=lambda path: path in FILES,
    )


@pytest.fixture(scope="session")
def load() -> Load:
    return load_text


@pytest.fixture(scope="session")
def mistakes() -> Mistakes:
    """The diagnostics of a spec that must be refused."""

    def collect(text: str | bytes, **options: object) -> list[Diagnostic]:
        with pytest.raises(SpecError) as caught:
            load_text(text, **options)  # type: ignore[arg-type]
        return list(caught.value.diagnostics)

    return collect
