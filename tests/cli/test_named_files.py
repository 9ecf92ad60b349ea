"""Files that a command line names: beside `--chdir`, whole or not at all, and never a defect."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.cli.entry import run
from engine.cli.files import writing
from engine.errors import UsageError


@pytest.mark.parametrize(
    "command",
    [
        ("schema", "--write", "{}"),
        ("export", "prometheus", "--output", "{}/rules"),
        ("graph", "--out", "{}/plan.txt"),
        ("graph", "--out", "{}/plan.svg"),
        ("plan", "--out", "{}/churn.plan"),
    ],
)
def test_a_place_that_cannot_be_written_is_a_mistake_with_a_remedy(
    command: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--chdir", str(tmp_path), "init", ".", "--name", "churn"]) == 0
    (tmp_path / "a-file").touch()
    assert run(["--chdir", str(tmp_path), *(word.format(tmp_path / "a-file") for word in command)]) == 1
    said = capsys.readouterr().err
    assert re.search("cannot be .*written", said)
    assert "defect" not in said


def test_relative_files_lie_in_the_folder_of_chdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert run(["--chdir", "../project", "schema", "--write", "made"]) == 0
    assert sorted(path.name for path in (project / "made").iterdir()) == [
        "engine.schema.json",
        "model_spec.schema.json",
    ]
    assert not list(elsewhere.iterdir())


def test_what_is_there_stays_until_the_new_file_is_whole(tmp_path: Path) -> None:
    place = tmp_path / "page.html"
    place.write_text("before")
    with pytest.raises(UsageError, match="No space left"), writing(place) as file:
        file.write("half")
        raise OSError(28, "No space left on device")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("page.html", "before")]
    with writing(place) as file:
        file.write("after")
    assert place.read_text() == "after"
