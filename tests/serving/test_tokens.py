"""Tokens: kept as hashes alone, each for its purpose, refused once revoked or expired."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from engine.cli.entry import run
from engine.core.canonical import utc
from engine.errors import IntegrityError, UsageError
from engine.serving import tokens as tokens_module
from engine.serving.tokens import Door, Purpose, TokenFile


def bearer(secret: str) -> bytes:
    return f"Bearer {secret}".encode()


@pytest.fixture
def file(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "tokens.json")


@pytest.fixture
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Doors look at the file each time."""
    monkeypatch.setattr(tokens_module, "_LOOK_SECONDS", 0.0)


def test_only_hashes_are_kept_and_for_the_owner_alone(file: TokenFile) -> None:
    secrets = [file.create(purpose)[1] for purpose in (*Purpose, Purpose.PREDICT)]
    assert [token.name for token in file.tokens()] == ["approve", "control", "predict", "predict-2"]
    text = file.path.read_text()
    assert len(set(secrets)) == 4
    assert not any(secret in text or secret.split("_", 2)[2] in text for secret in secrets)
    assert len({token.salt for token in file.tokens()}) == 4
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


@pytest.mark.usefixtures("prompt")
def test_a_token_opens_its_own_door_only(file: TokenFile) -> None:
    doors = {purpose: Door(file, purpose) for purpose in Purpose}
    assert not any(door.opens() for door in doors.values())
    secrets = {purpose: file.create(purpose, f"my-{purpose.value}")[1] for purpose in Purpose}
    for purpose, door in doors.items():
        assert door.opens()
        for other, secret in secrets.items():
            assert door.who(bearer(secret)) == (f"my-{purpose.value}" if other is purpose else None)
        for wrong in (
            b"",
            b"Bearer",
            b"Bearer ",
            b"Basic " + secrets[purpose].encode(),
            bearer(secrets[purpose] + "x"),
        ):
            assert door.who(wrong) is None
        assert door.who(b"bearer  " + secrets[purpose].encode() + b" ") == f"my-{purpose.value}"
        assert door.who(b"Bearer \xff\xfe") is None


@pytest.mark.usefixtures("prompt")
def test_what_is_revoked_or_expired_opens_nothing(file: TokenFile) -> None:
    door = Door(file, Purpose.CONTROL)
    token, secret = file.create(Purpose.CONTROL, "ci")
    assert door.who(bearer(secret)) == "ci"
    assert file.revoke("ci") == token
    assert door.who(bearer(secret)) is None
    with pytest.raises(UsageError, match="no token ci"):
        file.revoke("ci")
    token, secret = file.create(Purpose.CONTROL, "ci", timedelta(days=90))
    assert token.expires_at is not None
    assert token.expires_at > utc(datetime.now(timezone.utc) + timedelta(days=89))
    assert door.who(bearer(secret)) == "ci"
    document = json.loads(file.path.read_text())
    document["tokens"][0]["expires_at"] = utc(datetime.now(timezone.utc) - timedelta(seconds=1))
    file.path.write_text(json.dumps(document))
    assert door.who(bearer(secret)) is None
    assert not door.opens()


@pytest.mark.usefixtures("prompt")
@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"tokens": [{"name": "x"}]}', '{"tokens": [1]}', '{"tokens": null}']
)
def test_a_file_that_is_not_what_was_written_admits_nobody(file: TokenFile, content: str) -> None:
    _, secret = file.create(Purpose.CONTROL)
    door = Door(file, Purpose.CONTROL)
    assert door.opens()
    file.path.write_text(content)
    assert door.who(bearer(secret)) is None
    with pytest.raises(IntegrityError, match="cannot be read as tokens"):
        file.tokens()


def test_many_at_once_lose_none(file: TokenFile) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: file.create(Purpose.PREDICT)[0].name, range(24)))
    assert len(set(made)) == 24
    assert {token.name for token in file.tokens()} == set(made)
    with pytest.raises(UsageError, match="already"):
        file.create(Purpose.CONTROL, "predict-7")
    with pytest.raises(UsageError, match="cannot be the name"):
        file.create(Purpose.CONTROL, "a b")


def test_a_new_project_has_one_of_each_and_shows_them_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def call(*arguments: str) -> tuple[int, str]:
        code = run(["--chdir", str(tmp_path), *arguments])
        return code, capsys.readouterr().out

    assert run(["--chdir", str(tmp_path.parent), "init", tmp_path.name]) == 0
    shown = capsys.readouterr().out
    found: list[dict[str, Any]] = json.loads(call("token", "list", "--json")[1])["tokens"]
    assert [(token["name"], token["for"]) for token in found] == [("control", "control"), ("predict", "predict")]
    file = TokenFile(tmp_path / ".engine" / "tokens.json")
    for purpose in (Purpose.CONTROL, Purpose.PREDICT):
        secret = next(word for word in shown.split() if word.startswith(f"engine_{purpose.value}_"))
        assert Door(file, purpose).who(bearer(secret)) == purpose.value
    assert call("init")[1].count("engine_") == 0
    assert (tmp_path / ".engine" / ".gitignore").read_text() == "*\n"
    made = json.loads(call("token", "create", "--for", "control", "--name", "ci", "--expires", "90d", "--json")[1])
    assert (made["name"], made["for"]) == ("ci", "control")
    assert Door(file, Purpose.CONTROL).who(bearer(made["token"])) == "ci"
    assert "ci" in call("token", "list")[1]
    assert call("token", "revoke", "ci")[0] == 0
    assert Door(file, Purpose.CONTROL).who(bearer(made["token"])) is None
    assert call("token", "create", "--for", "control", "--expires", "0d")[0] == 1
    assert call("token", "revoke", "ci")[0] == 1
