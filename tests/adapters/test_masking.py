from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from engine.adapters.masking import MaskedLog, masker, secrets_of

SECRETS = st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3)


@given(SECRETS, st.lists(st.text("abcd\n", max_size=6), max_size=8))
def test_a_log_never_holds_a_secret_however_it_is_cut(secrets: list[str], pieces: list[str]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        with MaskedLog(path, secrets) as log:
            for piece in pieces:
                log.write(piece.encode())
        written = path.read_text()
    assert not any(secret in written for secret in secrets)
    if not any(secret in "".join(pieces) for secret in secrets):
        assert written == "".join(pieces)


def test_a_log_keeps_what_only_looks_like_the_beginning_of_a_secret(tmp_path: Path) -> None:
    with MaskedLog(tmp_path / "log", ["hunter2", ""]) as log:
        for piece in (b"hunt", b"er1 and hun", b"ter2 and hunter"):
            log.write(piece)
    assert (tmp_path / "log").read_text() == "hunter1 and *** and hunter"


def test_a_text_shows_no_credentials() -> None:
    environment = {"MLFLOW_TRACKING_TOKEN": "t0ken", "HOME": "/root", "DB_PASSWORD": "x"}
    mask = masker(secrets_of(environment, ["http://u:p%40ss@h/"]))
    assert mask("t0ken p@ss p%40ss /root x") == "*** *** *** /root x"
    assert mask("postgresql://me:other@host/db, https://token@host") == "postgresql://***@host/db, https://***@host"
