"""A gateway gives its listening sockets to the one that takes its place, so that no connection is refused meanwhile.

The running one offers them, with the lock of the folder, over a Unix socket in its folder (`Offer`). The next takes
them (`take`), loads its models, listens at the same sockets, and only then asks the first to end (`Taken.relieve`).
Whoever dies on the way, the other one has the sockets: connections wait in them, and are not reset.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from engine.errors import UsageError

SOCKET = "handover.sock"
_FORMAT = 1
_DRAIN = b"drain"
_WAIT_SECONDS = 10.0
_MOST_SOCKETS = 16
_MOST_BYTES = 64 << 10


@dataclass(frozen=True)
class Listening:
    """Where somebody listens, as the user said it, and the descriptors of the sockets."""

    host: str
    port: int
    sockets: Sequence[int]


class Offer:
    """The running gateway's end. One successor at a time; `on_drain` is called when it has taken over.

    `listening` names what there is to take. With a `reason` nothing is given, and the successor is told why.
    """

    def __init__(
        self,
        folder: Path,
        lock: int,
        listening: Callable[[], Mapping[str, Listening]],
        on_drain: Callable[[], None],
        reason: str = "",
    ) -> None:
        self._folder, self._lock, self._listening = folder, lock, listening
        self._on_drain, self._reason = on_drain, reason
        self._loop = asyncio.get_running_loop()
        self._successor: socket.socket | None = None
        self._alone = asyncio.Event()
        self._alone.set()
        self.drained = False
        with _short(folder) as place:
            place.unlink(missing_ok=True)  # of one that died: the lock is ours
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._socket.bind(str(place))
            place.chmod(0o600)
        self._socket.listen(4)
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self._accept)

    async def settled(self, seconds: float) -> None:
        """Wait while a successor is on its way: until it has taken over, or is gone."""
        with suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(self._alone.wait(), seconds)

    def close(self) -> None:
        """Offer nothing any more."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._leave()
        if not self.drained:  # else it is another one's
            with _short(self._folder) as place, suppress(OSError):
                place.unlink()

    def _accept(self) -> None:
        with suppress(OSError):
            channel, _ = self._socket.accept()
            reason = self._reason or ("another one is taking its place already" if self._successor else "")
            if reason or self.drained:
                with channel:
                    channel.send(json.dumps({"format": _FORMAT, "refused": reason or "it is ending"}).encode())
                return
            listening = self._listening()
            told = {name: [each.host, each.port, len(each.sockets)] for name, each in listening.items()}
            files = [self._lock, *(number for each in listening.values() for number in each.sockets)]
            socket.send_fds(channel, [json.dumps({"format": _FORMAT, "listening": told}).encode()], files)
            channel.setblocking(False)
            self._successor = channel
            self._alone.clear()
            self._loop.add_reader(channel, self._told)

    def _told(self) -> None:
        assert self._successor is not None
        try:
            said = self._successor.recv(64)
        except OSError:
            said = b""
        if said == _DRAIN:
            self.drained = True
            self._on_drain()
            with suppress(OSError):
                self._successor.send(_DRAIN)
        self._leave()

    def _leave(self) -> None:
        successor, self._successor = self._successor, None
        if successor is not None:
            self._loop.remove_reader(successor)
            successor.close()
        self._alone.set()


class Taken:
    """The successor's end: the lock, and sockets by name as `(host, port, sockets)`."""

    def __init__(
        self, channel: socket.socket, lock: int, listening: Mapping[str, tuple[str, int, list[socket.socket]]]
    ) -> None:
        self._channel = channel
        self.lock = lock
        self._listening = dict(listening)

    def sockets(self, name: str, host: str, port: int) -> list[socket.socket]:
        """Those that listen there (port 0: anywhere on the host); none if there are none. They are the caller's."""
        found = self._listening.get(name)
        if found is None or found[0] != host or port not in (0, found[1]):
            return []
        return self._listening.pop(name)[2]

    def relieve(self) -> None:
        """Have the other one drain; returns once it takes no connection any more, or is gone. It blocks."""
        with suppress(OSError):
            self._channel.send(_DRAIN)
            self._channel.recv(64)
        self.close()

    def close(self) -> None:
        """Let go of what was not taken."""
        self._channel.close()
        for _, _, sockets in self._listening.values():
            for each in sockets:
                each.close()
        self._listening = {}


def take(folder: Path) -> Taken | None:
    """What the gateway that serves this folder gives; None if there is none. Raises UsageError if it gives nothing."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel.settimeout(_WAIT_SECONDS)
    try:
        with _short(folder) as place:
            channel.connect(str(place))
    except (FileNotFoundError, ConnectionRefusedError):
        channel.close()
        return None
    try:
        data, files, _, _ = socket.recv_fds(channel, _MOST_BYTES, _MOST_SOCKETS)
        document = json.loads(data)
    except (OSError, ValueError):
        channel.close()
        raise UsageError(
            "the gateway that serves this project does not give its place", remedy="Stop it, then start this one."
        ) from None
    if document.get("format") != _FORMAT or "refused" in document:
        channel.close()
        reason = document.get("refused", "it is of another version")
        raise UsageError(
            f"the gateway that serves this project does not give its place: {reason}",
            remedy="Stop it, then start this one.",
        )
    lock, *rest = files
    listening = {}
    for name, (host, port, count) in document["listening"].items():
        listening[name] = (host, port, [socket.socket(fileno=number) for number in rest[:count]])
        rest = rest[count:]
    return Taken(channel, lock, listening)


@contextmanager
def _short(folder: Path) -> Iterator[Path]:
    """The socket's name by way of a descriptor: a Unix socket's name may have 107 bytes, a project's path more."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Path(f"/proc/self/fd/{descriptor}", SOCKET)
    finally:
        os.close(descriptor)
