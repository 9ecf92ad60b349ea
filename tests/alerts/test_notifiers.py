"""Each kind of receiver, real: a web server, a mail server with TLS and a login, Debian's Alertmanager, a command."""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from email.message import EmailMessage, Message
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from engine.app.alerting import blocks_of, kind_of
from engine.core.alerts import Alert, AlertRecord, Notice
from engine.errors import EngineError, TransientError, UsageError
from engine.kinds import KINDS, NOTIFIERS
from engine.spec.load import load_spec
from engine.spec.project import load_project
from engine.testing.listening import WebServer, alertmanager, free_port, installed

AT = "2026-01-01T00:00:00.000000Z"
ALERT = Alert("churn", "RunFailed", "warning", "train failed: <out of memory> & more", "See it.", {"release": "3"})
NOTICE = Notice("0123abcd", "churn", "ops", "", AT, (AlertRecord(ALERT, 1, AT, AT),))
SECRETS = {"${env:TOKEN}": "t0ken", "${env:SECRET}": "s3cret", "${env:PASSWORD}": "pa55"}


def resolve(text: str) -> str:
    for reference, value in SECRETS.items():
        text = text.replace(reference, value)
    return text


def resolved(**fields: Any) -> Mapping[str, Any]:
    """The receiver as a resolved spec has it."""
    spec = {"model_spec": {"name": "churn", "monitoring": {"alerts": [fields]}}}
    text, project = json.dumps(spec).encode(), load_project(b"")
    loaded = load_spec(text, "churn.yaml", project=project, kinds=KINDS, exists=lambda _: False)
    return blocks_of(loaded.document)[0]


def tell(project: Path, notice: Notice = NOTICE, **fields: Any) -> None:
    block = resolved(**fields)
    NOTIFIERS[kind_of(block)](block, notice, resolve, project)


# ── HTTP ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_webhook_gets_signed_json_once(web: WebServer, tmp_path: Path) -> None:
    tell(tmp_path, webhook=web.url, token="${env:TOKEN}", secret="${env:SECRET}", title="${model} ${status}")
    [got] = web.received
    assert got.headers["authorization"] == "Bearer t0ken"
    assert got.headers["idempotency-key"] == got.json["id"] == "0123abcd"
    signature = hmac.new(b"s3cret", got.body, hashlib.sha256).hexdigest()
    assert got.headers["x-hub-signature-256"] == f"sha256={signature}"
    assert (got.json["title"], got.json["status"]) == ("churn firing", "firing")
    assert got.json["alerts"][0]["summary"] == ALERT.summary


def test_a_receiver_that_stumbles_gets_the_same_again(web: WebServer, tmp_path: Path) -> None:
    web.answer = lambda _: (503 if len(web.received) < 3 else 204, {}, b"")
    tell(tmp_path, webhook=web.url)
    assert len(web.received) == 3
    assert len({each.headers["idempotency-key"] for each in web.received}) == 1


@pytest.mark.parametrize("kind", ["webhook", "slack", "alertmanager"])
def test_a_receiver_that_refuses_is_no_success(web: WebServer, tmp_path: Path, kind: str) -> None:
    web.says({}, 404)
    with pytest.raises(UsageError, match="answered 404"):
        tell(tmp_path, **{kind: web.url})
    web.answer = lambda _: (302, {"location": "http://127.0.0.1:1/"}, b"")
    with pytest.raises(UsageError, match="redirect"):
        tell(tmp_path, **{kind: web.url})
    assert len(web.received) == 2, "nothing is tried again that cannot succeed"


@pytest.mark.parametrize("kind", ["webhook", "slack", "alertmanager", "smtp"])
def test_no_alert_reaches_a_metadata_service(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UsageError, match="link-local or a metadata service") as caught:
        if kind == "smtp":
            tell(tmp_path, email=["a@example.org"], smtp="smtp://169.254.169.254", **{"from": "b@example.org"})
        else:
            tell(tmp_path, **{kind: "http://169.254.169.254/s3cret"})
    assert "s3cret" not in str(caught.value)


def test_nothing_in_an_alert_is_markup_for_slack(web: WebServer, tmp_path: Path) -> None:
    tell(tmp_path, slack=web.url, template="${severity}: ${summary}")
    text = web.received[0].json["text"]
    assert text == "*[firing] churn: RunFailed*\n• warning: train failed: &lt;out of memory&gt; &amp; more"


def test_alertmanager_takes_it_and_its_end(web: WebServer, tmp_path: Path) -> None:
    if not installed("prometheus-alertmanager"):
        pytest.skip("prometheus-alertmanager is not installed")
    server = alertmanager(tmp_path, web.url)
    try:
        now = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
        record = AlertRecord(ALERT, 1, now, now)
        notice = replace(NOTICE, at=now, alerts=(record,), repeats=60.0)
        for _ in range(2):  # telling it twice changes nothing
            tell(tmp_path, notice, alertmanager=server.url)
        server.wait(lambda: len(web.received) == 1)
        [alert] = web.received[0].json["alerts"]
        assert (alert["status"], alert["labels"]["alertname"], alert["labels"]["release"]) == (
            "firing",
            "RunFailed",
            "3",
        )
        assert alert["annotations"]["summary"] == ALERT.summary
        tell(tmp_path, replace(notice, alerts=(replace(record, resolved_at=now),)), alertmanager=server.url)
        server.wait(lambda: len(web.received) == 2)
        assert web.received[1].json["alerts"][0]["status"] == "resolved"
    finally:
        server.close()


# ── e-mail ───────────────────────────────────────────────────────────────────────────────────────────────────


class Mailbox:
    """A handler of aiosmtpd's that keeps mail; `codes` are its first answers."""

    def __init__(self) -> None:
        self.mail: list[Message] = []
        self.users: list[str] = []
        self.codes: list[str] = []

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.codes:
            return self.codes.pop(0)
        from email import message_from_bytes
        from email.policy import default

        assert isinstance(envelope.content, bytes)
        self.mail.append(message_from_bytes(envelope.content, policy=default))
        return "250 OK"

    def login(self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.users.append(data.login.decode())
        return AuthResult(success=data.password == b"pa55", handled=False)  # so that it answers by itself


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of localhost's, with its key."""
    folder = tmp_path_factory.mktemp("tls")
    made = folder / "both.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, *names, "-keyout", made, "-out", folder / "cert.pem"], check=True, capture_output=True)
    made.write_text(made.read_text() + (folder / "cert.pem").read_text())
    return made


@pytest.fixture(params=["smtp", "smtps"])
def server(request: pytest.FixtureRequest, certificate: Path) -> Iterator[tuple[Mailbox, str]]:
    """A real mail server that wants TLS and a login, and its address."""
    box = Mailbox()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    smtps = request.param == "smtps"
    tls = {"ssl_context": context} if smtps else {"tls_context": context, "require_starttls": True}
    port = free_port()
    controller = Controller(
        box, hostname="127.0.0.1", port=port, authenticator=box.login, auth_required=True, auth_require_tls=not smtps,
        **tls,
    )  # fmt: skip
    controller.start()
    yield box, f"{request.param}://localhost:{port}"
    controller.stop()


def mail(smtp: str, **fields: Any) -> dict[str, Any]:
    own = {"user": "engine", "password": "${env:PASSWORD}"}
    return {"email": ["oncall@example.org"], "from": "engine@example.org", "smtp": smtp, **own, **fields}


@pytest.mark.filterwarnings("ignore:Requiring AUTH")  # the server knows nothing of the TLS around it
def test_mail_goes_over_verified_tls_with_a_login(
    server: tuple[Mailbox, str], certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box, address = server
    with pytest.raises(UsageError, match="certificate is not accepted"):
        tell(tmp_path, **mail(address))
    assert not box.mail and not box.users, "no password for who cannot prove who it is"
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    box.codes = ["451 greylisted, come back"]
    tell(tmp_path, **mail(address))
    [got] = box.mail
    assert isinstance(got, EmailMessage)
    assert (got["Subject"], got["To"]) == ("[firing] churn: RunFailed", "oncall@example.org")
    assert got["Message-ID"] == "<0123abcd@example.org>"
    assert ALERT.summary in got.get_content()
    box.codes = ["550 never"]
    with pytest.raises(UsageError, match="answered 550"):
        tell(tmp_path, **mail(address))
    with pytest.raises(UsageError, match="does not accept the user and password"):
        tell(tmp_path, **mail(address, password="${env:TOKEN}"))
    assert len(box.mail) == 1


def test_a_title_cannot_make_a_header(tmp_path: Path) -> None:
    box, port = Mailbox(), free_port()
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        odd = replace(NOTICE, alerts=(AlertRecord(replace(ALERT, name="Run\r\nBcc: x@example.org"), 1, AT, AT),))
        plain = {"email": ["a@example.org"], "from": "b@example.org", "smtp": f"smtp+plain://127.0.0.1:{port}"}
        tell(tmp_path, odd, **plain)
        [got] = box.mail
        assert got["Bcc"] is None and "Bcc: x@example.org" in str(got["Subject"])
        with pytest.raises(UsageError, match="no STARTTLS"):
            tell(tmp_path, odd, **{**plain, "smtp": f"smtp://127.0.0.1:{port}"})
    finally:
        controller.stop()


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────

KEEP = "import json, os, sys; json.dump([dict(os.environ), json.load(sys.stdin)], open('got.json', 'w'))"


def test_a_command_gets_json_and_no_environment_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "hidden")
    tell(tmp_path, command=[sys.executable, "-c", KEEP], environment={"KEY": "${env:TOKEN}"})
    environment, document = json.loads((tmp_path / "got.json").read_text())
    assert (environment["KEY"], environment["ENGINE_ALERT_ID"]) == ("t0ken", "0123abcd")
    assert "DATABASE_PASSWORD" not in environment
    assert document["alerts"][0]["alert"] == "RunFailed"


def test_a_command_has_no_shell_a_time_limit_and_an_exit_code(tmp_path: Path) -> None:
    tell(tmp_path, command=["touch", "a; touch c", "`id`"])
    assert {each.name for each in tmp_path.iterdir()} == {"a; touch c", "`id`"}
    with pytest.raises(TransientError, match="ended with 3"):
        tell(tmp_path, command=["sh", "-c", "exit 3"])
    with pytest.raises(TransientError, match=r"longer than 0\.2 s"):
        tell(tmp_path, command=["sleep", "30"], timeout=0.2)
    with pytest.raises(EngineError, match="cannot be started"):
        tell(tmp_path, command=["no-such-program"])
