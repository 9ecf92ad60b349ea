"""A listening socket of one handler: opened, swept for clients that are too slow, and drained at the end."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence

from engine.errors import UsageError
from engine.serving.http import Connection, Handler
from engine.serving.settings import Settings

_SWEEP_SECONDS = 0.25
_BACKLOG = 1024
_CANCEL_AGAIN_SECONDS = 0.2


class Listener:
    """Where its handler's settings say. `options` name what the user gave the address with, for messages."""

    def __init__(self, handler: Handler, options: str = "--host and --port") -> None:
        self._handler = handler
        self._options = options
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen; the address. Raises UsageError for one that cannot be had, or a certificate that cannot be read."""
        settings, loop = self._handler.settings, asyncio.get_running_loop()
        try:
            server = await loop.create_server(
                lambda: Connection(self._handler),
                settings.host,
                settings.port,
                ssl=_tls(settings),
                backlog=_BACKLOG,
                reuse_address=True,
            )
        except OSError as error:
            raise UsageError(
                f"{settings.host}:{settings.port} cannot be listened at: {error.strerror or error}",
                remedy=f"Choose another one with {self._options}.",
            ) from error
        self._server = server
        host, port = server.sockets[0].getsockname()[:2]
        return f"[{host}]:{port}" if server.sockets[0].family == socket.AF_INET6 else f"{host}:{port}"

    async def sweep(self) -> None:
        """Cut clients that take too long, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = loop.time()
            for connection in list(self._handler.connections):
                connection.check(now)

    async def drain(self) -> None:
        """Take no new connection, answer what was begun, close what is idle."""
        self._handler.draining = True
        if self._server is not None:
            self._server.close()
        loop = asyncio.get_running_loop()
        end = loop.time() + self._handler.settings.drain_seconds
        while self._handler.connections and loop.time() < end:
            for connection in list(self._handler.connections):
                connection.drain()
            await asyncio.sleep(0.02)


async def ended(tasks: Sequence[asyncio.Task[None]]) -> list[BaseException]:
    """Cancel the tasks until all have ended; what they raised.

    Once is not enough: before Python 3.12 `asyncio.wait_for` swallows a cancellation that comes when it is about to
    return, and its caller goes on.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_CANCEL_AGAIN_SECONDS)
    return [error for task in tasks if not task.cancelled() and (error := task.exception()) is not None]


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate, settings.key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"the certificate or its key cannot be read: {error}", remedy="Give PEM files.") from error
    return context
