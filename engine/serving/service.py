"""`engine serve` as a process: follows the state, listens, keeps its files up to date, drains when it is told to end.

With `take_over` it takes the place of the one that serves the folder: it loads first, listens at the same sockets, and
then has the other one end (`handover`).

Files in its folder: `status.json` (what is ready and in effect, at least every second), `routes.json` (the last good
snapshot), `evidence.db`, and the prediction log in `log/`.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import resource
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any, Protocol

from engine.clock import Clock, system_clock
from engine.core.canonical import utc
from engine.errors import UsageError
from engine.serving import desired as snapshots
from engine.serving import metrics
from engine.serving.children import Template
from engine.serving.desired import Desired, Truth, replace_file
from engine.serving.evidence_file import EvidenceFile
from engine.serving.fleet import Fleet
from engine.serving.gateway import Gateway
from engine.serving.handover import Listening, Offer, Taken, take
from engine.serving.listener import Listener, ended
from engine.serving.prediction_log_keeper import Keeper
from engine.serving.settings import Settings
from engine.serving.tokens import Door

STATUS, ROUTES, EVIDENCE, LOCK = "status.json", "routes.json", "evidence.db", "lock"
PRIVATE = "private"
_DESCRIPTORS = 256  # beside those of connections
_LOOK_SECONDS = 0.02
_CONDENSE_SECONDS = 600.0
_CONDENSE_AFTER = timedelta(hours=1)
_log = logging.getLogger("engine.serving")


class Companion(Protocol):
    """What listens beside the gateway, in the same process, as long as that does."""

    @property
    def listener(self) -> Listener:
        """What it listens with."""

    async def start(self, taken: Taken | None = None) -> None:
        """Listen, at what was taken from another gateway if it fits. Raises UsageError."""

    async def stop(self, *, relieved: bool = False) -> None:
        """Answer what was begun, and end. `relieved`: another one listens now."""


def serve(
    truth: Truth,
    settings: Settings,
    folder: Path,
    announce: Callable[[str], None],
    door: Door | None = None,
    beside: Sequence[Companion] = (),
    clock: Clock = system_clock,
) -> None:
    """Serve until SIGTERM or SIGINT. `announce` is called with the address once the gateway listens.

    Without a `door` no token is asked for.

    Raises UsageError for an address that cannot be had, while another gateway serves the project and its place is not
    to be taken, and for models that are not ready in time to take it.
    """
    import uvloop

    settings = replace(settings, max_connections=min(settings.max_connections, _raised_descriptors() - _DESCRIPTORS))
    taken = take(folder) if settings.take_over else None

    async def main(lock: int) -> None:
        await Service(truth, settings, folder, door, beside, lock, taken, clock).run(announce)

    with _locked(folder, taken) as lock:
        uvloop.run(main(lock))


@contextmanager
def _locked(folder: Path, taken: Taken | None) -> Iterator[int]:
    """The folder's lock: the other gateway's own, if its place is taken, so that there is no moment without one."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) if taken is None else taken.lock
    try:
        if taken is None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    except BlockingIOError:
        raise UsageError(
            "another gateway serves this project",
            remedy=f"Take its place with --take-over; its process and address are in {folder / STATUS}.",
        ) from None
    finally:
        os.close(descriptor)


def _raised_descriptors() -> int:
    """Have as many descriptors as may be, for each connection needs one; how many these are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 1 << 20 if hard == resource.RLIM_INFINITY else hard
    if soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _own_folder(folder: Path) -> Path:
    """One for this gateway alone, below `folder`; what gateways left there that were killed goes."""
    with suppress(FileNotFoundError):
        for each in folder.iterdir():
            if not Path("/proc", each.name).exists():
                shutil.rmtree(each, ignore_errors=True)
    return folder / str(os.getpid())


class Service:
    """See the module."""

    def __init__(
        self,
        truth: Truth,
        settings: Settings,
        folder: Path,
        door: Door | None = None,
        beside: Sequence[Companion] = (),
        lock: int = -1,
        taken: Taken | None = None,
        clock: Clock = system_clock,
    ) -> None:
        self._truth = truth
        self._clock = clock
        self._door = door
        self._lock = lock
        self._predecessor = taken
        self._beside = beside
        self._settings = settings
        self._folder = folder
        self._id = token_hex(6)
        self._address = ""
        self._evidence = EvidenceFile(folder / EVIDENCE)
        self._silent = False  # another gateway says what is in effect
        self._dirty = asyncio.Event()
        self._stop = asyncio.Event()
        self._saved: Desired | None = None

    async def run(self, announce: Callable[[str], None]) -> None:
        """Serve until told to end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        template = Template(_own_folder(self._folder / PRIVATE))
        keeper = Keeper(self._folder, self._settings.log, self._clock)
        self._gateway = gateway = Gateway(
            self._settings, keeper, lambda: metrics.text(self._gateway, template), self._door
        )
        self._fleet = gateway.fleet = Fleet(self._truth, template, self._settings, self._changed, self._clock)
        self._listener = listener = Listener(gateway)
        template.start()
        tasks = [loop.create_task(self._follow())]
        offer: Offer | None = None
        try:
            if self._predecessor is None or await self._ready_to_take_over(self._predecessor, tasks):
                offer = await self._listen()
                work = (self._report(), self._flush(), listener.sweep(), keeper.run())
                tasks += [loop.create_task(each) for each in work]
                announce(self._address)
                stopped = loop.create_task(self._stop.wait())
                await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
                await offer.settled(self._settings.take_over_seconds)
                stops = [companion.stop(relieved=offer.drained) for companion in self._beside]
                await asyncio.gather(listener.drain(relieved=offer.drained), *stops)
        finally:
            failures = await ended(tasks)
            self._fleet.close()
            await keeper.close()
            await loop.run_in_executor(None, template.close)
            self._write_evidence()
            if offer is not None:
                offer.close()
                if not offer.drained:
                    with suppress(OSError):
                        (self._folder / STATUS).unlink(missing_ok=True)
        for failure in failures:
            raise failure

    async def _listen(self) -> Offer:
        """Listen; whoever listened before stops then, and what there is to take is offered to the next."""
        taken = self._predecessor
        self._address = await self._listener.start(taken)
        for companion in self._beside:
            await companion.start(taken)
        if taken is not None:
            await asyncio.get_running_loop().run_in_executor(None, taken.relieve)
        reason = "" if self._settings.parent is None else "it belongs to engine up"
        return Offer(self._folder, self._lock, self._listening, self._relieved, reason)

    def _listening(self) -> Mapping[str, Listening]:
        listeners = [self._listener, *(companion.listener for companion in self._beside)]
        return {listener.name: listener.listening() for listener in listeners}

    def _relieved(self) -> None:
        """Another gateway listens now, and says from now on what is in effect."""
        self._silent = True
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(nothing, self._lock, inheritable=False)  # the lock is the other's alone
        os.close(nothing)
        self._listener.close()
        for companion in self._beside:
            companion.listener.close()
        self._stop.set()

    async def _ready_to_take_over(self, taken: Taken, tasks: Sequence[asyncio.Task[None]]) -> bool:
        """Wait until all models can answer; False if it was told to end before. Raises UsageError after its time."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._settings.take_over_seconds
        while not (self._gateway.informed and self._fleet.settled):
            if self._stop.is_set() or any(task.done() for task in tasks):
                taken.close()
                return False
            if loop.time() > end:
                taken.close()
                raise UsageError(
                    "the models are not ready: the gateway that serves this project goes on",
                    remedy=f"See what {self._folder / STATUS} says of their releases.",
                )
            await asyncio.sleep(_LOOK_SECONDS)
        return True

    # ── what it follows ────────────────────────────────────────────────────────────────────────────────────────

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        routes = self._folder / ROUTES
        kept = await loop.run_in_executor(None, snapshots.load, routes)
        told = ""
        while True:
            desired: Desired | None
            try:
                desired = await loop.run_in_executor(None, self._truth.desired)
                if kept is not None and not desired.lineage:
                    raise FileNotFoundError("there is no state any more")
                told = ""
            except Exception as error:  # noqa: BLE001 - whatever is wrong with the state, what serves goes on
                if told != str(error):
                    told = str(error)
                    _log.warning("The state cannot be read, the last routes stay: %s", told)
                desired = self._saved or kept
            if desired is not None:
                self._gateway.known, self._gateway.informed = frozenset(desired.endpoints), True
                if self._saved is None and kept is not None and kept.lineage == desired.lineage:
                    self._fleet.follow(kept)  # an older snapshot of the state is refused also after a restart
                refused = self._fleet.follow(desired)
                if refused:
                    _log.warning("Older generations are refused: %s", ", ".join(refused))
                elif desired != self._saved:
                    await loop.run_in_executor(None, self._save, routes, desired)
                    self._saved = desired
                    self._changed()
            await asyncio.sleep(self._settings.poll_seconds)

    def _save(self, path: Path, desired: Desired) -> None:
        try:
            snapshots.save(path, desired)
        except OSError as error:
            _log.warning("The routes cannot be kept: %s", error.strerror)

    def _changed(self) -> None:
        self._gateway.renew()
        self._dirty.set()

    # ── what it reports ────────────────────────────────────────────────────────────────────────────────────────

    async def _report(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with suppress(TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(self._dirty.wait(), self._settings.status_seconds)
            self._dirty.clear()
            if self._settings.parent not in (None, os.getppid()):
                _log.warning("The process that started this gateway is gone: it ends too")
                self._stop.set()
            data = json.dumps(self._status()).encode()
            if self._silent:
                return
            try:
                await loop.run_in_executor(None, replace_file, self._folder / STATUS, data)
            except OSError as error:
                _log.warning("The status cannot be written: %s", error.strerror)

    def _status(self) -> dict[str, Any]:
        return {
            "format_version": 1,
            "gateway": self._id,
            "pid": os.getpid(),
            "at": utc(self._clock()),
            "address": self._address,
            "models": {name: model.to_json() for name, model in sorted(self._fleet.models.items())},
        }

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        condensed = loop.time()
        while True:
            await asyncio.sleep(self._settings.flush_seconds)
            tallies = self._taken()
            await loop.run_in_executor(None, self._add, tallies)
            if loop.time() - condensed > _CONDENSE_SECONDS:
                condensed = loop.time()
                before = utc(self._clock() - _CONDENSE_AFTER)
                await loop.run_in_executor(None, self._condense, before)

    def _taken(self) -> list[Any]:
        at = utc(self._clock().replace(microsecond=0))
        return [tally for slot in self._fleet.slots() if (tally := slot.take(at)) is not None]

    def _write_evidence(self) -> None:
        self._add(self._taken())

    def _add(self, tallies: list[Any]) -> None:
        try:
            self._evidence.add(tallies)
        except sqlite3.Error as error:
            _log.warning("Evidence of %d tallies is lost: %s", len(tallies), error)

    def _condense(self, before: str) -> None:
        try:
            self._evidence.condense(before)
        except sqlite3.Error as error:
            _log.warning("Evidence cannot be condensed: %s", error)
