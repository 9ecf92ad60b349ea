"""Local sources: the same files seen and stored, and every mistake said with what is there instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.adapters.artifacts import objects
from engine.adapters.artifacts.content import digest_file
from engine.adapters.artifacts.local import LocalArtifacts
from engine.adapters.sources.data import DataSources
from engine.adapters.sources.stat_cache import FileStatCache
from engine.core.canonical import digest_bytes
from engine.errors import StalePlanError, UsageError


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {
        "data/churn.csv": "a\n1\n",
        "data/parts/2024/b.csv": "a\n2\n",
        "data/parts/a.csv": "a\n3\n",
        "data/parts/README.md": "not data",
        "data/parts/.hidden.csv": "no",
        "data/parts/_SUCCESS.csv": "no",
        "data/empty/notes.txt": "",
    }
    for name, content in files.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path / "project"


@pytest.fixture
def store(project: Path) -> LocalArtifacts:
    return LocalArtifacts(project / ".engine/artifacts")


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("data/churn.csv", ["churn.csv"]),
        ("./data/../data/churn.csv", ["churn.csv"]),
        ("data/parts", ["2024/b.csv", "a.csv"]),
        ("data/parts/", ["2024/b.csv", "a.csv"]),
        ("data/parts/*.csv", ["a.csv"]),
        ("data/**/[ab].csv", ["parts/2024/b.csv", "parts/a.csv"]),
        ({"default": "churn"}, ["churn.csv"]),
        ("data/parts/README.md", ["README.md"]),
    ],
)
def test_what_is_seen_is_what_is_stored(project: Path, store: LocalArtifacts, source: object, names: list[str]) -> None:
    cache = FileStatCache(None)
    sources = DataSources(cache)
    digest = sources.observe(source, project, cache)
    artifact = sources.snapshot(source, project, store, digest)
    path = store.path(artifact)
    if artifact.tree:
        assert sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()) == names
    else:
        assert [path.name] == names
        assert digest == artifact.digest
    assert sources.observe(source, project, cache) == digest


def test_a_byte_a_name_and_a_file_more_are_seen(project: Path) -> None:
    sources, cache = DataSources(), FileStatCache(None)
    digests = {sources.observe("data/parts", project, cache)}
    (project / "data/parts/a.csv").write_text("a\n4\n")
    digests.add(sources.observe("data/parts", project, cache))
    (project / "data/parts/a.csv").rename(project / "data/parts/c.csv")
    digests.add(sources.observe("data/parts", project, cache))
    (project / "data/parts/d.csv").write_text("a\n")
    digests.add(sources.observe("data/parts", project, cache))
    assert len(digests) == 4
    (project / "data/parts/notes.md").write_text("no data")
    assert sources.observe("data/parts", project, cache) in digests


def test_a_link_may_lead_out_of_the_project(project: Path, store: LocalArtifacts, tmp_path: Path) -> None:
    (tmp_path / "big.csv").write_text("a\n1\n")
    (project / "data/big.csv").symlink_to(tmp_path / "big.csv")
    digest = DataSources().observe("data/big.csv", project, FileStatCache(None))
    assert digest == digest_bytes(b"a\n1\n")
    artifact = DataSources().snapshot("data/big.csv", project, store, digest)
    assert store.path(artifact).name == "big.csv"
    assert not store.path(artifact).is_symlink()


@pytest.mark.parametrize("source", ["data/churn.csv", "data/parts"])
def test_storing_by_link_does_not_cost_another_hash(
    project: Path, store: LocalArtifacts, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    monkeypatch.setattr(objects, "COPY_UP_TO", -1)
    for path in project.rglob("*.csv"):
        os.utime(path, (1e9, 1e9))
    cache = FileStatCache(project / ".engine/cache.db")
    sources = DataSources(cache)
    before = sources.observe(source, project, cache)
    store.path(sources.snapshot(source, project, store, before))
    cache.flush()

    def no_reading(path: str) -> str:
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr("engine.adapters.sources.stat_cache.digest_file", no_reading)
    assert sources.observe(source, project, FileStatCache(project / ".engine/cache.db")) == before


def test_a_large_file_is_stored_by_the_digest_it_was_seen_with_while_it_is_that_file(
    project: Path, store: LocalArtifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    monkeypatch.setattr(objects, "COPY_UP_TO", -1)
    monkeypatch.setattr(objects, "cloned", lambda path, target: False)
    path = project / "data/churn.csv"
    os.utime(path, (1e9, 1e9))
    cache = FileStatCache(None)
    seen = DataSources(cache).observe("data/churn.csv", project, cache)
    known = cache.known(path)
    assert known is not None
    assert known.digest == seen

    marked = known._replace(digest=digest_bytes(b"it was not read"))
    assert store.put(path, known=marked).digest == marked.digest

    other = project / "data/other.csv"  # as long and as old, put in its place at the last moment
    other.write_bytes(path.read_bytes()[::-1])
    os.utime(other, (1e9, 1e9))
    other.replace(path)
    assert store.put(path, known=known).digest == digest_bytes(path.read_bytes()) != seen
    assert cache.known(path) is None

    DataSources(cache).observe("data/churn.csv", project, cache)
    path.write_bytes(path.read_bytes()[::-1])  # as long, and as old
    os.utime(path, (1e9, 1e9))
    assert cache.known(path) is None, "its time of change tells"


@pytest.mark.parametrize(
    ("source", "message", "remedy"),
    [
        ("data/chrun.csv", "does not exist", 'Did you mean "data/churn.csv"'),
        ("dta/churn.csv", "does not exist", 'Did you mean "data/churn.csv"'),
        ("nothing-like-it.parquet", "does not exist", "The project has data/churn.csv"),
        ("data/empty", "without data files; there are notes.txt", ".parquet"),
        ("data/parts/*.parquet", "matches no file; there are", "pattern"),
        ("../secret.csv", "outside the project", "symbolic link"),
        ("data/../../secret.csv", "outside the project", "symbolic link"),
        ("/etc/passwd", "outside the project", "symbolic link"),
        ({"default": "chrn"}, "no data for chrn", 'Did you mean "data/churn.csv"'),
        ("", "is not a path", "path"),
    ],
)
def test_a_mistake_is_said_with_what_is_there(project: Path, source: object, message: str, remedy: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        DataSources().observe(source, project, FileStatCache(None))
    assert remedy in caught.value.remedy


def test_two_defaults_are_one_too_many(project: Path) -> None:
    (project / "data/churn.parquet").write_bytes(b"")
    with pytest.raises(UsageError, match="both"):
        DataSources().observe({"default": "churn"}, project, FileStatCache(None))


def test_data_kept_by_dvc_is_pointed_out(project: Path) -> None:
    (project / "data/sales.csv.dvc").write_text("outs: []")
    with pytest.raises(UsageError) as caught:
        DataSources().observe("data/sales.csv", project, FileStatCache(None))
    assert "write dvc:" in caught.value.remedy


def test_a_dangling_link_is_not_a_file(project: Path) -> None:
    (project / "data/gone.csv").symlink_to("nowhere")
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        DataSources().observe("data/gone.csv", project, FileStatCache(None))


@pytest.mark.parametrize(
    ("source", "local_"),
    [
        ("data/a.csv", True),
        ({"default": "a"}, True),
        ("https://example.org/a.csv", False),
        ("s3://bucket/a.csv", False),
        ("sklearn:iris", False),
        ("${env:DATA}", False),
        ({"sql": "select 1", "url": "sqlite://"}, False),
    ],
)
def test_which_sources_are_local(source: object, local_: bool) -> None:
    assert DataSources().is_local(source) is local_


@pytest.mark.parametrize("source", ["data/churn.csv", "data/parts"])
def test_data_that_only_grows_is_stored_as_it_was_seen(project: Path, store: LocalArtifacts, source: str) -> None:
    cache = FileStatCache(None)
    sources = DataSources(cache)
    seen = sources.observe(source, project, cache)
    before = {p.relative_to(project): p.read_bytes() for p in sorted(project.glob("data/**/*.csv"))}
    for path in before:
        with (project / path).open("a") as file:
            file.write("7\n")
    if source == "data/parts":
        (project / "data/parts/2025.csv").write_text("a\n9\n")
    artifact = sources.snapshot(source, project, store, seen)
    path = store.path(artifact)
    files = sorted(p for p in path.rglob("*") if p.is_file()) if artifact.tree else [path]
    assert [file.read_bytes() for file in files] == [
        content
        for name, content in before.items()
        if name.is_relative_to(source) and not name.name.startswith((".", "_"))
    ]
    assert sources.observe(source, project, cache) != seen
    grown = sources.snapshot(source, project, store, sources.observe(source, project, cache))
    assert grown.digest != artifact.digest


def test_data_that_was_rewritten_meanwhile_is_refused(project: Path, store: LocalArtifacts) -> None:
    cache = FileStatCache(None)
    sources = DataSources(cache)
    seen = sources.observe("data/churn.csv", project, cache)
    path = project / "data/churn.csv"
    path.write_bytes(b"#" + path.read_bytes())  # longer, and another one
    with pytest.raises(StalePlanError, match="changed while it was read"):
        sources.snapshot("data/churn.csv", project, store, seen)


def test_a_file_that_grows_while_it_is_hashed_has_a_digest_that_holds(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = project / "data/churn.csv", digest_file

    def growing(key: str) -> str:
        with path.open("ab") as file:
            file.write(b"8\n")
        return real(key)

    before = path.read_bytes()
    monkeypatch.setattr("engine.adapters.sources.stat_cache.digest_file", growing)
    assert FileStatCache(None).digest(path) == digest_bytes(before)
