"""A listening socket of one handler: opened or taken over, swept for slow clients, and drained at the end."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence

from engine.errors import UsageError
from engine.serving.handover import Listening, Taken
from engine.serving.http import Connection, Handler
from engine.serving.settings import Settings

_SWEEP_SECONDS = 0.25
_BACKLOG = 1024
_QUIET_SECONDS = 1.0  # without a request, after which a connection is closed when there is an end to come
_CANCEL_AGAIN_SECONDS = 0.2


class Listener:
    """Where its handler's settings say. `options` name what the user gave the address with, for messages.

    A successor asks for the sockets by `name`.
    """

    def __init__(self, handler: Handler, options: str = "--host and --port", name: str = "predictions") -> None:
        self._handler = handler
        self._options = options
        self._servers: list[asyncio.Server] = []
        self.name = name

    async def start(self, taken: Taken | None = None) -> str:
        """Listen; the address. Raises UsageError for one that cannot be had, or a certificate that cannot be read.

        What was `taken` from another gateway is listened at, if it is what the settings say.
        """
        settings, loop = self._handler.settings, asyncio.get_running_loop()
        tls = _tls(settings)
        inherited = [] if taken is None else taken.sockets(self.name, settings.host, settings.port)
        try:
            if inherited:
                for each in inherited:
                    self._servers.append(
                        await loop.create_server(
                            lambda: Connection(self._handler), sock=each, ssl=tls, backlog=_BACKLOG
                        )
                    )
            else:
                server = await loop.create_server(
                    lambda: Connection(self._handler),
                    settings.host,
                    settings.port,
                    ssl=tls,
                    backlog=_BACKLOG,
                    reuse_address=True,
                )
                self._servers.append(server)
        except OSError as error:
            raise UsageError(
                f"{settings.host}:{settings.port} cannot be listened at: {error.strerror or error}",
                remedy=f"Choose another one with {self._options}.",
            ) from error
        first = self._servers[0].sockets[0]
        host, port = first.getsockname()[:2]
        return f"[{host}]:{port}" if first.family == socket.AF_INET6 else f"{host}:{port}"

    def listening(self) -> Listening:
        """What a successor may take."""
        sockets = [each for server in self._servers for each in server.sockets]
        port: int = sockets[0].getsockname()[1]
        return Listening(self._handler.settings.host, port, [each.fileno() for each in sockets])

    def close(self) -> None:
        """Take no new connection: they wait for the successor, which has the sockets too."""
        self._handler.draining = True
        for server in self._servers:
            server.close()

    async def sweep(self) -> None:
        """Cut clients that take too long, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = loop.time()
            for connection in list(self._handler.connections):
                connection.check(now)

    async def drain(self, *, relieved: bool = False) -> None:
        """Take no new connection, answer what was begun, close what is idle.

        Who was `relieved` is in nobody's way: connections that are idle may stay so as long as they always may, and end
        with the answer to their next request.
        """
        self.close()
        settings, loop = self._handler.settings, asyncio.get_running_loop()
        quiet = settings.idle_seconds if relieved else _QUIET_SECONDS
        end = loop.time() + settings.drain_seconds + (settings.idle_seconds if relieved else 0.0)
        while self._handler.connections and loop.time() < end:
            for connection in list(self._handler.connections):
                connection.drain(quiet)
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
