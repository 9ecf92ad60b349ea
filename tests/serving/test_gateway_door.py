"""Where a gateway may listen, and what it asks for."""

from __future__ import annotations

import http.client
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from shutil import which

import pytest
from served import PREDICT, Gateway

from engine.app.serving import door_of
from engine.app.tokens import create
from engine.app.workspace import Workspace
from engine.cli.entry import run
from engine.errors import UsageError
from engine.serving.settings import Settings
from engine.serving.tokens import Purpose

TOKEN = "a-token-of-some-length"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_predictions_on_loopback_need_nothing(host: str, tmp_path: Path) -> None:
    empty = Workspace(tmp_path)
    assert door_of(empty, Purpose.PREDICT, Settings(host=host), insecure=False) is None
    with pytest.raises(UsageError, match="no token for predictions"):
        door_of(empty, Purpose.PREDICT, Settings(host=host, require_token=True), insecure=False)
    for insecure in (False, True):
        with pytest.raises(UsageError, match="no token for control"):
            door_of(empty, Purpose.CONTROL, Settings(host=host, token=TOKEN), insecure=insecure)


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, ["a token", "TLS"]),
        ({"token": TOKEN}, ["TLS"]),
        ({"certificate": "cert.pem"}, ["token"]),
    ],
)
def test_other_addresses_need_a_token_and_tls(given: dict[str, str], missing: list[str], tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    create(workspace, Purpose.CONTROL, None, None)
    settings = Settings(host="0.0.0.0", **given)  # type: ignore[arg-type]
    with pytest.raises(UsageError) as caught:
        door_of(workspace, Purpose.PREDICT, settings, insecure=False)
    assert all(word in caught.value.message for word in missing)
    assert (door_of(workspace, Purpose.PREDICT, settings, insecure=True) is None) == ("token" not in given)
    safe = Settings(host="0.0.0.0", token=TOKEN, certificate="cert.pem")
    assert door_of(workspace, Purpose.PREDICT, safe, insecure=False) is not None
    _, secret = create(workspace, Purpose.PREDICT, None, None)
    door = door_of(workspace, Purpose.PREDICT, Settings(host="0.0.0.0", certificate="cert.pem"), insecure=False)
    assert door is not None
    assert door.who(f"Bearer {secret}".encode()) == "predict"


def test_the_command_refuses_an_open_door_and_a_weak_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--chdir", str(tmp_path), "serve", "--host", "0.0.0.0"]) == 1
    assert "--insecure" in capsys.readouterr().err
    weak = tmp_path / "token"
    weak.write_text("short\n")
    assert run(["--chdir", str(tmp_path), "serve", "--token-file", str(weak)]) == 1
    assert "16 letters" in capsys.readouterr().err
    assert run(["--chdir", str(tmp_path), "serve", "--memory", "lots"]) == 1
    assert "2GiB" in capsys.readouterr().err
    assert not (tmp_path / ".engine").exists()


def test_one_gateway_serves_a_project_over_tls(
    project: Path, serve: Callable[..., Gateway], capsys: pytest.CaptureFixture[str]
) -> None:
    openssl = which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    certificate, key = project / "cert.pem", project / "key.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run([*made, "-keyout", str(key), "-out", str(certificate), *names], check=True, capture_output=True)
    gateway = serve(certificate=str(certificate), key=str(key), token=TOKEN)
    host, _, port = gateway.address.rpartition(":")
    context = ssl.create_default_context(cafile=str(certificate))
    connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=20)
    for path, token, status in (
        ("/healthz", "", 200),
        ("/metrics", "", 401),
        ("/metrics", TOKEN, 200),
        (PREDICT, "", 401),
    ):
        connection.request("GET", path, headers={"authorization": f"bearer {token}"} if token else {})
        response = connection.getresponse()
        assert response.status == status
        response.read()
    connection.close()
    assert run(["--chdir", str(project), "serve", "--port", "0"]) == 1
    assert "another gateway" in capsys.readouterr().err
