"""What a plan observes of the project, and that a result of other code than was observed is not kept."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from engine.adapters.sources.stat_cache import FileStatCache
from engine.app.applying import apply
from engine.app.planning import find_specs, plan
from engine.app.workspace import open_workspace
from engine.core.graph import Observed, Step
from engine.core.plan import Request, Run
from engine.errors import SpecError, StalePlanError
from engine.runtime.observe import contents_of

SPEC = """\
model_spec:
  name: rows
  steps:
    - name: edit
      run: python edit.py ${outputs.note}
      inputs: {data: data, words: words}
      outputs: {note: note.txt}
"""
EDIT = """\
import sys
from pathlib import Path
from lib.text import TEXT
Path(sys.argv[1]).write_text(TEXT)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {
        "specs/rows.yaml": SPEC,
        "data/rows.csv": "x,target\n" + "".join(f"{i},{i % 2}\n" for i in range(20)),
        "edit.py": EDIT,
        "lib/__init__.py": "",
        "lib/text.py": "TEXT = 'hello'\n",
        "words/a.txt": "a",
        "words/deep/b.txt": "b",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def seen(project: Path) -> dict[str, object]:
    step = Step("edit", "command", {"steps": {"edit": {"run": ["python", "edit.py"]}}}, _inputs())
    return dict(contents_of(step, project, FileStatCache()))


def _inputs() -> dict[str, Observed]:
    return {"words": Observed("file:words"), "command": Observed("code:edit")}


def test_a_command_is_its_script_and_what_that_imports(project: Path) -> None:
    code = seen(project)["code:edit"]
    assert isinstance(code, dict)
    assert sorted(code) == ["edit.py", "lib/__init__.py", "lib/text.py"]


@pytest.mark.parametrize(
    ("file", "text", "key"),
    [
        ("lib/text.py", "TEXT = 'bye'\n", "code:edit"),
        ("edit.py", EDIT + "print('done')\n", "code:edit"),
        ("words/a.txt", "changed", "file:words"),
        ("words/deep/c.txt", "more", "file:words"),
    ],
)
def test_a_change_is_seen_where_it_is(project: Path, file: str, text: str, key: str) -> None:
    before = seen(project)
    (project / file).write_text(text)
    after = seen(project)
    assert [name for name in before if before[name] != after[name]] == [key]


def test_a_comment_is_no_change(project: Path) -> None:
    before = seen(project)
    (project / "lib/text.py").write_text('"""Words."""\n\n# the word\nTEXT  =  "hello"\n')
    assert seen(project) == before


def test_what_is_not_there_is_told_at_the_spec(project: Path) -> None:
    (project / "data/rows.csv").unlink()
    workspace = open_workspace(project)
    with pytest.raises(SpecError, match=r"rows\.csv"):
        plan(workspace, find_specs(workspace, []), variables={}, request=Request())


def test_code_that_changes_while_it_runs_leaves_no_result(project: Path) -> None:
    change = "Path(__file__).resolve().with_name('lib').joinpath('text.py').write_text(\"TEXT = 'other'\")\n"
    (project / "edit.py").write_text(EDIT + change)
    workspace = open_workspace(project)
    request = Request(targets=frozenset({"edit"}))
    planned = plan(workspace, find_specs(workspace, []), variables={}, request=request)
    stop = threading.Event()
    [result] = apply(workspace, planned, tell=lambda _: None, stop=stop, on_kill=lambda _: None)
    assert isinstance(result.error, StalePlanError)
    assert "changed while it ran" in result.message

    again = plan(workspace, find_specs(workspace, []), variables={}, request=request)
    assert [action.step for action in again.plan.models[0].actions if isinstance(action, Run)] == ["edit"]
