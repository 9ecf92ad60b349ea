"""`engine serve`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from engine.cli.files import FilePath
from engine.cli.shape import Settings, define
from engine.errors import UsageError

_FILE = FilePath(exists=True, dir_okay=False)


@define(
    "serve",
    examples="""
    engine serve
    engine serve --port 9000 --processes 2
    engine serve --control-port 8081
    engine serve --take-over
    engine serve --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem
    """,
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen at this address.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0 for any free one.")
@click.option("--processes", default=1, show_default=True, type=click.IntRange(1, 64), help="For each release.")
@click.option("--deadline", default=5.0, show_default=True, type=click.FloatRange(0.01), help="Seconds for an answer.")
@click.option("--memory", metavar="SIZE", help="The most that a model process may hold, such as 2GiB.")
@click.option(
    "--max-in-flight",
    default=256,
    show_default=True,
    type=click.IntRange(1),
    help="Predictions at once, at the most; more get 429.",
)
@click.option(
    "--log-days", default=30.0, show_default=True, type=click.FloatRange(0), help="Keep logged predictions so long."
)
@click.option("--log-size", default="5GiB", show_default=True, metavar="SIZE", help="And at most so much of a model.")
@click.option("--require-token", is_flag=True, help="Ask for a token for predictions on this machine too.")
@click.option("--token-file", type=_FILE, help="Ask for a token, and take the one in this file too.")
@click.option(
    "--control-port",
    type=click.IntRange(0, 65535),
    metavar="N",
    help="Listen for control there, with a control token; 0 for any free one. Off if left out.",
)
@click.option("--control-host", default="127.0.0.1", show_default=True, help="Listen for control at this address.")
@click.option(
    "--take-over", is_flag=True, help="Load, then take the place of the gateway that serves the project, without a gap."
)
@click.option("--tls-cert", type=_FILE, help="Serve TLS with this certificate (PEM).")
@click.option("--tls-key", type=_FILE, help="Its key (PEM), if it is in a file of its own.")
@click.option("--insecure", is_flag=True, help="Listen beyond this machine without a token or TLS.")
@click.pass_obj
def command(
    settings: Settings,
    /,
    host: str,
    port: int,
    processes: int,
    deadline: float,
    memory: str | None,
    max_in_flight: int,
    log_days: float,
    log_size: str,
    require_token: bool,
    token_file: Path | None,
    control_port: int | None,
    control_host: str,
    take_over: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    insecure: bool,
) -> int:
    """Serve the endpoints: predictions over HTTP from what is live, following every change. Ends with SIGTERM."""
    from engine.app.gateway_process import PARENT
    from engine.app.serving import ControlAt, serve
    from engine.serving.settings import LogSettings
    from engine.serving.settings import Settings as Limits

    limits = Limits(
        host=host,
        port=port,
        processes=processes,
        deadline=deadline,
        memory=None if memory is None else _size("--memory", memory),
        max_in_flight=max_in_flight,
        take_over=take_over,
        require_token=require_token,
        token=None if token_file is None else _token(token_file),
        certificate=None if tls_cert is None else str(tls_cert),
        key=None if tls_key is None else str(tls_key),
        parent=int(os.environ[PARENT]) if PARENT in os.environ else None,
        log=LogSettings(keep_seconds=log_days * 86400, keep_bytes=_size("--log-size", log_size)),
    )
    scheme = "http" if tls_cert is None else "https"

    def announce(address: str) -> None:
        click.echo(f"Serving at {scheme}://{address}  (the paths: /docs)")

    control = None
    if control_port is not None:
        from engine.serving.control import control_settings

        where = control_settings(control_host, control_port, limits.certificate, limits.key)
        control = ControlAt(where, lambda address: click.echo(f"Control at {scheme}://{address}"))
    serve(settings.workspace(), limits, insecure=insecure, announce=announce, control=control)
    return 0


def _size(option: str, text: str) -> int:
    from engine.spec.units import parse_size

    try:
        return parse_size(text)
    except ValueError:
        raise UsageError(f"{option} {text} is no size", remedy="Write it as 512MiB or 2GiB.") from None


def _token(path: Path) -> str:
    token = path.read_text(encoding="utf-8").strip()
    if len(token) < 16 or not token.isascii() or any(letter.isspace() for letter in token):
        raise UsageError(f"{path} must hold one token of at least 16 letters and digits", remedy="openssl rand -hex 24")
    return token
