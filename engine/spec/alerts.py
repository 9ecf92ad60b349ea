"""Receivers of alerts in `monitoring.alerts`: a webhook, Slack, e-mail, an Alertmanager, a command of one's own."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from engine.spec.fields import (
    Block,
    Budget,
    Command,
    HttpUrl,
    Role,
    Seconds,
    Text,
    VariableName,
    check_no_password,
    mistake,
    show,
)
from engine.spec.references import is_reference

KINDS = ("webhook", "slack", "email", "alertmanager", "command")
TITLE_NAMES = ("model", "status", "firing", "resolved", "alerts")
LINE_NAMES = ("model", "alert", "status", "severity", "summary", "remedy", "since", "until", "release")
_ONLY = {
    "secret": ("webhook",),
    "token": ("webhook", "alertmanager"),
    "from": ("email",),
    "smtp": ("email",),
    "user": ("email",),
    "password": ("email",),
    "environment": ("command",),
    "private": ("webhook", "slack", "email", "alertmanager"),
    "title": ("webhook", "slack", "email", "command"),
    "template": ("webhook", "slack", "email", "command"),
}
_ADDRESS = r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?"
_SMTP = r"(smtps?|smtp\+plain)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(:[0-9]{1,5})?"


def _template(names: Sequence[str]) -> Callable[[Any], str]:
    written = ", ".join(f"${{{name}}}" for name in names)

    def read(value: Any) -> str:
        if not isinstance(value, str) or not value.strip() or len(value) > 2_000:
            raise mistake(f"{show(value)} is not a template", f"Write text with any of {written} in it.")
        for found in string.Template.pattern.finditer(value):
            name = found["named"] or found["braced"]
            if found["escaped"] is None and name not in names:
                text = value[found.start() : found.start() + 20].split()[0]
                raise mistake(f"{text} refers to nothing", f"Known are {written}; $$ is a dollar sign.")
        return value

    return read


def _address(value: Any) -> str:
    if not isinstance(value, str) or not (re.fullmatch(_ADDRESS, value) or is_reference(value)):
        raise mistake(f"{show(value)} is not an e-mail address", "Write it like oncall@example.org, or ${env:NAME}.")
    return value


def _smtp(value: Any) -> str:
    remedy = "Write it like smtps://mail.example.org, or smtp://mail.example.org:587 for STARTTLS, or ${env:NAME}."
    if isinstance(value, str):
        check_no_password(value)
    if not isinstance(value, str) or not (re.fullmatch(_SMTP, value) or is_reference(value)):
        raise mistake(f"{show(value)} is not the address of a mail server", remedy)
    return value


def _secret(value: Any) -> str:
    if not isinstance(value, str) or not is_reference(value):
        raise mistake("a secret is written out", "Keep secrets out of the file: write ${env:NAME} or ${file:PATH}.")
    return value


_TEXT = {"type": "string", "minLength": 1}
Address = Annotated[str, PlainValidator(_address), WithJsonSchema({**_TEXT, "examples": ["oncall@example.org"]})]
Smtp = Annotated[str, PlainValidator(_smtp), WithJsonSchema({**_TEXT, "examples": ["smtps://mail.example.org"]})]
Secret = Annotated[str, PlainValidator(_secret), WithJsonSchema({**_TEXT, "examples": ["${env:ALERT_TOKEN}"]})]
Title = Annotated[
    str, PlainValidator(_template(TITLE_NAMES)), WithJsonSchema({**_TEXT, "examples": ["${model}: ${firing} firing"]})
]
Line = Annotated[
    str, PlainValidator(_template(LINE_NAMES)), WithJsonSchema({**_TEXT, "examples": ["${severity}: ${summary}"]})
]


class Alert(Block):
    """Somebody who is told what is wrong: one of webhook, slack, email, alertmanager and command."""

    name: Role | None = None
    """What it is called; its kind if left out."""
    webhook: HttpUrl | None = None
    """A URL that gets a POST of JSON; usually ${env:NAME}."""
    slack: HttpUrl | None = None
    """The incoming webhook of Slack, or of what takes the same (Mattermost, Rocket.Chat); usually ${env:NAME}."""
    email: Annotated[list[Address], Field(min_length=1, max_length=50)] | None = None
    """Addresses that get an e-mail; needs from and smtp."""
    alertmanager: HttpUrl | None = None
    """The address of an Alertmanager, which does the grouping and repeating itself."""
    command: Command | None = None
    """A command that gets the notice as JSON on its standard input; there is no shell."""
    token: Secret | None = None
    """For webhook and alertmanager: sent as a bearer token."""
    secret: Secret | None = None
    """For webhook: signs the body, as X-Hub-Signature-256: sha256=…"""
    from_: Address | None = Field(default=None, alias="from")
    """For email: the sender."""
    smtp: Smtp | None = None
    """For email: smtps://HOST[:465], or smtp://HOST[:587], which must offer STARTTLS; certificates are verified.
    smtp+plain://HOST[:25] uses no TLS and takes no password."""
    user: Text | None = None
    """For email: who logs in."""
    password: Secret | None = None
    """For email: the password of user."""
    environment: dict[VariableName, str] = Field(default_factory=dict)
    """For command: environment variables; secrets as ${env:NAME} or ${file:PATH}."""
    severity: Literal["warning", "critical"] = "warning"
    """The least severity that it is told of."""
    by: Literal["model", "alert"] = "model"
    """model: one notice for all alerts of the model; alert: one for each kind of alert."""
    wait: Seconds | None = None
    """From the beginning of an alert to its notice, so that what comes together is told together; 10 s if left out."""
    interval: Seconds | None = None
    """Between two notices when something changed; 5 minutes if left out."""
    repeat: Seconds | None = None
    """Between two notices that say the same; a day if left out, a minute for alertmanager, which needs it."""
    limit: Budget = Field(default={"count": 20, "period": 3600}, validate_default=False)
    """The most notices in a period, like 20 per hour. What is held back is told later, as it is then."""
    resolved: bool = True
    """Whether it is also told that an alert is over."""
    title: Title | None = None
    """The first line of a notice: ${model}, ${status}, ${firing}, ${resolved} and ${alerts} are replaced."""
    template: Line | None = None
    """The line of each alert: ${model}, ${alert}, ${status}, ${severity}, ${summary}, ${remedy}, ${since}, ${until}
    and ${release} are replaced."""
    timeout: Annotated[Seconds, Field(le=60)] = 5
    """How long one of four tries may take."""
    private: bool = False
    """Whether the host's name may lead to a private or loopback address; literal ones always may."""

    @property
    def kind(self) -> str:
        """Which of the five it is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> Alert:
        kinds = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(kinds) != 1:
            what = f"has both {' and '.join(kinds)}" if kinds else "goes nowhere"
            raise mistake(f"an alert {what}", f"Write one of {', '.join(KINDS)}.")
        for field, of in _ONLY.items():
            own = "from_" if field == "from" else field
            if own in self.model_fields_set and kinds[0] not in of:
                raise mistake(f"{field} has no effect on {kinds[0]}", "Remove it.")
        return self._can_be_sent()

    def _can_be_sent(self) -> Alert:
        if any("${" in word for word in self.command or ()):
            raise mistake("nothing is replaced in a command", "Hand secrets over in environment.")
        if self.email is not None:
            missing = [name for name, value in (("from", self.from_), ("smtp", self.smtp)) if value is None]
            if missing:
                raise mistake(f"email needs {' and '.join(missing)}", "Write {email: [TO], from: …, smtp: …}.")
            if (self.user is None) != (self.password is None):
                raise mistake("user and password belong together", "Give both, or neither.")
            if self.password is not None and (self.smtp or "").startswith("smtp+plain:"):
                raise mistake("a password would be sent without TLS", "Use smtps:// or smtp://.")
        if self.alertmanager is not None:
            useless = {"limit", "wait", "interval", "resolved", "by"} & self.model_fields_set
            if useless:
                raise mistake(f"{min(useless)} has no effect on alertmanager", "Set it there: it groups and repeats.")
        return self
