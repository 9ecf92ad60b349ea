"""A notice as an e-mail over SMTP with TLS. Its Message-ID is the notice's id, by which a mailbox may know it twice.

The server's address is checked as for every outgoing request, and the whole exchange has a time limit.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from engine.adapters.outgoing import addresses, persistently
from engine.core.alerts import Notice
from engine.core.monitoring import moment
from engine.core.notice_text import lines_of, title_of
from engine.errors import TransientError, UsageError

_PORTS = {"smtps": 465, "smtp": 587, "smtp+plain": 25}
_LOGIN_REFUSED = "the mail server does not accept the user and password"


def notify(receiver: Mapping[str, Any], notice: Notice, resolve: Callable[[str], str], _project: Path) -> None:
    """The port Notifier."""
    message = _message(receiver, notice, resolve)
    server, password = resolve(receiver["smtp"]), resolve(receiver["password"] or "")
    persistently(lambda: _send(receiver, message, server, password))


def _message(receiver: Mapping[str, Any], notice: Notice, resolve: Callable[[str], str]) -> EmailMessage:
    sender = resolve(receiver["from_"])
    message = EmailMessage()
    try:
        message["From"] = sender
        message["To"] = ", ".join(resolve(each) for each in receiver["email"])
        message["Subject"] = title_of(notice, receiver["title"])
    except (ValueError, IndexError):  # a line break, or what is no address, in what a reference gave
        raise UsageError("the sender or a recipient is not an e-mail address") from None
    message["Date"] = format_datetime(moment(notice.at))
    message["Message-ID"] = f"<{notice.id}@{sender.rpartition('@')[2].strip('> ') or 'engine'}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n\n".join(lines_of(notice, receiver["template"])) + "\n")
    return message


def _send(receiver: Mapping[str, Any], message: EmailMessage, server: str, password: str) -> None:
    url = urlsplit(server)
    try:
        port = url.port or _PORTS[url.scheme]
    except (KeyError, ValueError):
        raise UsageError("the mail server's address is not one of smtps, smtp or smtp+plain") from None
    if url.scheme == "smtp+plain" and password:
        raise UsageError("a password would be sent without TLS", remedy="Use smtps:// or smtp://.")
    host, failure = url.hostname or "", "it has no address"
    for address in addresses(host, port, private=receiver["private"]):
        try:
            with _connected(url.scheme, host, address, port, float(receiver["timeout"])) as connection:
                if receiver["user"]:
                    connection.login(receiver["user"], password)
                refused = connection.send_message(message)
        except smtplib.SMTPAuthenticationError:
            raise UsageError(_LOGIN_REFUSED) from None
        except (smtplib.SMTPNotSupportedError, ssl.SSLCertVerificationError) as error:
            raise UsageError(f"the mail server cannot be used: {_words(error)}") from None
        except smtplib.SMTPResponseException as error:
            raise _answered(error.smtp_code) from None
        except smtplib.SMTPRecipientsRefused as error:
            raise _answered(max(code for code, _ in error.recipients.values())) from None
        except (OSError, smtplib.SMTPException) as error:
            failure = _words(error)
        else:
            if refused:  # the others got it: sending it again would tell them twice
                raise UsageError(f"the mail server refused {len(refused)} of the recipients")
            return
    raise TransientError(f"the mail server did not answer ({failure})")


@contextmanager
def _connected(scheme: str, host: str, address: str, port: int, seconds: float) -> Iterator[smtplib.SMTP]:
    """A connection to a checked address, whose certificate is the host's. It is cut off when the time is over."""
    context = ssl.create_default_context()
    connection: smtplib.SMTP
    if scheme == "smtps":
        connection = smtplib.SMTP_SSL(timeout=seconds, context=context)
    else:
        connection = smtplib.SMTP(timeout=seconds)
    vars(connection)["_host"] = host  # by which smtplib verifies the certificate
    late = threading.Timer(seconds, lambda: _cut(connection))
    late.daemon = True
    late.start()
    try:
        connection.connect(address, port)
        if scheme == "smtp":
            connection.starttls(context=context)
        yield connection
        with suppress(smtplib.SMTPException, OSError):  # it was accepted
            connection.quit()
    finally:
        late.cancel()
        connection.close()


def _cut(connection: smtplib.SMTP) -> None:
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)


def _answered(code: int) -> TransientError | UsageError:
    kind = TransientError if 400 <= code < 500 else UsageError
    return kind(f"the mail server answered {code}")


def _words(error: Exception) -> str:
    """A failure in a few words, without what the server or the address says."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return "it offers no STARTTLS" if "STARTTLS" in str(error) else "it takes no login"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "it refuses connections"
    return "the connection broke"
