"""Sources that lie elsewhere, against real servers on this machine: a web server, databases, memory."""

from __future__ import annotations

import functools
import http.server
import importlib
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from real_data import DATA, MakeContext

from engine.adapters.sources import remote
from engine.errors import NotSupportedError, StepError, TransientError, UsageError
from engine.steps.table import read_table

pytest.importorskip("aiohttp")


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, and a few paths that misbehave."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(super().do_HEAD)

    def do_GET(self) -> None:
        self._answer(super().do_GET)

    def _answer(self, usual: functools.partial[None]) -> None:  # type: ignore[type-arg]
        name = self.path.strip("/").partition("?")[0]
        if name.isdigit():
            self.send_response(int(name))
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif name == "slow":
            time.sleep(2)
        elif name == "bare.csv":
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(b"a\n1\n")
        else:
            usual()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the tests' output is theirs."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The URL of a web server and the folder that it serves."""
    folder = tmp_path / "www"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", folder
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_web_file_is_recognised_and_fetched(web: tuple[str, Path], make_context: MakeContext) -> None:
    url, folder = web
    content = (DATA / "bike_sharing_hourly.csv").read_bytes()
    (folder / "bike data.csv").write_bytes(content)
    source = f"{url}/bike%20data.csv?token=s3cret"
    before = remote.observe(source)
    assert before is not None
    assert remote.observe(source) == before
    context = make_context({"source": source}, outputs={"data": "data"})
    outcome = remote.run(context)
    assert outcome.facts == {"bytes": len(content)}
    assert (context.outputs["data"] / "bike data.csv").read_bytes() == content
    (folder / "bike data.csv").write_bytes(content + b"\n")
    assert remote.observe(source) != before


def test_an_output_with_a_suffix_is_the_file(web: tuple[str, Path], make_context: MakeContext) -> None:
    url, folder = web
    (folder / "a.csv").write_bytes(b"a\n1\n")
    context = make_context({"source": f"{url}/a.csv"}, outputs={"data": "a.csv"})
    remote.run(context)
    assert context.outputs["data"].read_bytes() == b"a\n1\n"


def test_a_server_that_says_too_little_is_asked_for_everything(web: tuple[str, Path]) -> None:
    assert remote.observe(f"{web[0]}/bare.csv") is None


@pytest.mark.parametrize(
    ("path", "error", "says"),
    [
        ("absent.csv", UsageError, "does not exist"),
        ("401", UsageError, "may not be read"),
        ("403", UsageError, "may not be read"),
        ("500", TransientError, "HTTP 500"),
        ("503", TransientError, "HTTP 503"),
    ],
)
def test_refusals_are_told_apart_and_show_no_secret(
    web: tuple[str, Path], make_context: MakeContext, path: str, error: type[Exception], says: str
) -> None:
    source = web[0].replace("//", "//user:${env:PASSWORD}@") + f"/{path}?key=${{env:KEY}}"
    assert remote.observe(source) is None
    secrets = {"${env:PASSWORD}": "pa55word", "${env:KEY}": "k3y"}
    context = make_context({"source": source}, outputs={"data": "data"}, secrets=secrets)
    with pytest.raises(error, match=says) as caught:
        remote.run(context)
    shown = f"{caught.value}{getattr(caught.value, 'remedy', '')}"
    assert "pa55word" not in shown
    assert "k3y" not in shown
    with pytest.raises(error):
        remote.observe(f"{web[0]}/{path}")


def test_a_slow_server_is_not_waited_for(web: tuple[str, Path]) -> None:
    with pytest.raises(TransientError, match=r"did not answer|could not be read"):
        remote.observe(f"{web[0]}/slow", timeout=0.2)


def test_nobody_there_is_worth_another_try() -> None:
    with pytest.raises(TransientError):
        remote.observe("http://127.0.0.1:9/a.csv")


def test_folders_and_globs_are_fetched_whole(make_context: MakeContext) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for name, content in {"a.csv": b"x\n1\n", "sub/b.csv": b"x\n2\n", "notes.md": b"no"}.items():
        memory.pipe(f"/bucket/data/{name}", content)
    for source, names in {
        "memory://bucket/data": ["a.csv", "sub/b.csv"],
        "memory://bucket/data/*.csv": ["a.csv"],
    }.items():
        assert remote.observe(source) == remote.observe(source) is not None
        context = make_context({"source": source}, outputs={"data": source.replace("/", "_")})
        remote.run(context)
        target = context.outputs["data"]
        if target.is_dir():
            assert sorted(p.relative_to(target).as_posix() for p in target.rglob("*.csv")) == names
        else:
            assert target.read_bytes() == b"x\n1\n"
    with pytest.raises(UsageError, match="no data files"):
        remote.observe("memory://bucket/data/*.parquet")
    memory.rm("/bucket", recursive=True)


@pytest.mark.parametrize(("scheme", "module", "extra"), [("s3", "s3fs", "s3"), ("gs", "gcsfs", "gcs")])
def test_a_missing_extra_is_named(scheme: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = importlib.import_module("fsspec.registry")
    monkeypatch.setattr(registry, "_registry", {})
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(NotSupportedError) as caught:
        remote.observe(f"{scheme}://bucket/a.csv")
    assert f"pip install 'engine[{extra}]'" in caught.value.remedy


def test_an_unknown_scheme_is_an_error() -> None:
    with pytest.raises(UsageError, match="gopher"):
        remote.observe("gopher://example.org/a.csv")


def test_a_reference_may_turn_out_to_be_a_path(make_context: MakeContext, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a\n1\n")
    context = make_context({"source": "${env:DATA}"}, outputs={"data": "data"}, secrets={"${env:DATA}": "a.csv"})
    assert remote.observe("${env:DATA}") is None
    remote.run(context)
    assert (context.outputs["data"] / "a.csv").read_bytes() == b"a\n1\n"


@pytest.fixture(scope="module")
def s3() -> Iterator[None]:
    """A bucket on an S3 server of this machine."""
    program = shutil.which("moto_server")
    if program is None:
        pytest.skip("moto's server is not installed")
    s3fs = pytest.importorskip("s3fs")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([program, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        bucket = s3fs.S3FileSystem(skip_instance_cache=True)
        bucket.mkdir("shop")
        for name, content in {"one.csv": b"x\n1\n", "parts/a.csv": b"x\n2\n", "parts/sub/b.csv": b"x\n3\n"}.items():
            bucket.pipe(f"shop/{name}", content)
        yield
    server.kill()
    server.wait()


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("s3://shop/one.csv", ["one.csv"]),
        ("s3://shop/parts", ["a.csv", "sub/b.csv"]),
        ("s3://shop/parts/*.csv", ["a.csv"]),
    ],
)
def test_objects_of_a_bucket(s3: None, make_context: MakeContext, source: str, names: list[str]) -> None:
    assert remote.observe(source) == remote.observe(source) is not None
    context = make_context({"source": source}, outputs={"data": "data"})
    remote.run(context)
    target = context.outputs["data"]
    assert sorted(path.relative_to(target).as_posix() for path in target.rglob("*.csv")) == names


@pytest.mark.parametrize("source", ["s3://shop/absent.csv", "s3://nowhere/absent.csv"])
def test_an_object_that_is_not_there(s3: None, source: str) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        remote.observe(source)


# ── databases ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "db" / "shop.db"
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE sales (id INTEGER, price REAL, note TEXT, day TEXT, gap INTEGER)")
    days = [(date(2024, 1, 1) + timedelta(days=i % 300)).isoformat() for i in range(50_001)]
    rows = [(i, i / 2 if i % 2 else i, f"100%:{i}", days[i], None if i < 30_000 else i) for i in range(50_001)]
    connection.executemany("INSERT INTO sales VALUES (?,?,?,?,?)", rows)
    connection.commit()
    connection.close()
    return path


def query(make_context: MakeContext, sql: str, url: str = "sqlite:///db/shop.db", **secrets: str) -> Path:
    context = make_context(
        {"source": {"sql": sql, "url": url}},
        outputs={"data": "data"},
        secrets={f"${{env:{name}}}": value for name, value in secrets.items()},
    )
    remote.run(context)
    assert list(context.scratch.iterdir()) == []
    return context.outputs["data"]


def test_a_query_is_read_in_batches_with_types(make_context: MakeContext, database: Path) -> None:
    source = {"sql": "SELECT * FROM sales WHERE note LIKE '100%:%' ORDER BY id", "url": "${env:DB_URL}"}
    assert remote.observe(source) is None
    path = query(make_context, source["sql"], source["url"], DB_URL="sqlite:///db/shop.db")
    frame, kinds = read_table(path)
    assert len(frame) == 50_001
    assert kinds == {"id": "numeric", "price": "numeric", "note": "categorical", "day": "date", "gap": "numeric"}
    assert frame["gap"].isna().sum() == 30_000
    assert frame["id"].tolist() == list(range(50_001))


def test_a_query_without_rows_keeps_its_columns(make_context: MakeContext, database: Path) -> None:
    frame, _ = read_table(query(make_context, "SELECT id, note FROM sales WHERE id < 0"))
    assert (list(frame.columns), len(frame)) == (["id", "note"], 0)


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT absent FROM sales", "no such column"),
        ("SELEC", "syntax error"),
        ("CREATE TABLE other (a)", "no table"),
        ("SELECT id, id FROM sales", "more than once"),
        ("SELECT CASE WHEN id < 3 THEN id ELSE note END AS x FROM sales", "x mixes int and str"),
        ("SELECT CASE WHEN id < 30000 THEN id ELSE note END AS x FROM sales", "mix"),
    ],
)
def test_a_query_that_fails_says_why(make_context: MakeContext, database: Path, sql: str, says: str) -> None:
    with pytest.raises((StepError, TransientError), match=says):
        query(make_context, sql)


def test_a_database_that_is_not_there_is_not_made(make_context: MakeContext, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.db does not exist"):
        query(make_context, "SELECT 1", "sqlite:///absent.db")
    assert not (tmp_path / "absent.db").exists()


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("mysql+pymysql://u:s3cret@localhost/x", NotSupportedError),
        ("nonsense://u:s3cret@localhost/x", NotSupportedError),
        ("no url s3cret", UsageError),
    ],
)
def test_a_database_that_cannot_be_reached_shows_no_secret(
    make_context: MakeContext, url: str, error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        query(make_context, "SELECT 1", "${env:DB}", DB=url)
    assert "s3cret" not in f"{caught.value}{getattr(caught.value, 'remedy', '')}"


# ── scikit-learn's data sets ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("iris", (150, 5), ["setosa", "versicolor", "virginica"]),
        ("breast_cancer", (569, 31), ["benign", "malignant"]),
        ("wine", (178, 14), ["class_0", "class_1", "class_2"]),
        ("digits", (1797, 65), [str(digit) for digit in range(10)]),
        ("diabetes", (442, 11), None),
    ],
)
def test_data_sets_of_scikit_learn(
    make_context: MakeContext, name: str, shape: tuple[int, int], classes: list[str] | None
) -> None:
    assert remote.observe(f"sklearn:{name}") is not None
    context = make_context({"source": f"sklearn:{name}"}, outputs={"data": "data"})
    remote.run(context)
    frame, kinds = read_table(context.outputs["data"])
    assert frame.shape == shape
    if classes is None:
        assert kinds["target"] == "numeric"
    else:
        assert sorted(frame["target"].unique()) == classes


def test_an_unknown_data_set_is_answered_with_the_known(make_context: MakeContext) -> None:
    with pytest.raises(UsageError) as caught:
        remote.observe("sklearn:irsi")
    assert 'Did you mean "sklearn:iris"' in caught.value.remedy
