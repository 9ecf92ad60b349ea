"""Keeping leases alive while their runs go on.

One thread renews every held lease at a third of its time. A lease that was lost ends its run: `lost` is called
once, and every later write is refused by the store's fence in any case.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from engine.core.records import Lease, delivery_of
from engine.errors import EngineError, FencedError, LockedError
from engine.failpoints import failpoint
from engine.ports import LeaseStore

LEASE_SECONDS = 60.0
ENDPOINT_SECONDS = 30.0
"""How long to wait for an endpoint: whoever has one needs it for milliseconds."""


class LeaseKeeper:
    """Acquires, renews and releases leases of one holder. Setting `stop` ends the waiting for a lease."""

    def __init__(
        self,
        store: LeaseStore,
        holder: str,
        stop: threading.Event,
        *,
        seconds: float = LEASE_SECONDS,
        wait_seconds: float = 0.0,
    ) -> None:
        self._store = store
        self._holder = holder
        self._seconds = seconds
        self._wait_seconds = wait_seconds
        self._no_more_waiting = stop
        self._held: dict[str, tuple[Lease, Callable[[], None]]] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def hold(self, model: str, lost: Callable[[], None]) -> Iterator[Lease]:
        """Hold the lease of a model. Raises LockedError if somebody else keeps it for longer than may be waited."""
        with self._keep(self._acquire(model, self._wait_seconds), lost) as lease:
            yield lease

    @contextmanager
    def hold_endpoint(self, model: str) -> Iterator[Lease]:
        """Hold the lease of a model's delivery, which is free also while a run holds the model. Raises LockedError."""
        with self._keep(self._acquire(delivery_of(model), ENDPOINT_SECONDS), lambda: None) as lease:
            yield lease

    @contextmanager
    def hold_alone(self, name: str) -> Iterator[Lease]:
        """Hold a lease for which nobody waits: whoever comes second has nothing to do. Raises LockedError."""
        with self._keep(self._acquire(name, 0.0), lambda: None) as lease:
            yield lease

    @contextmanager
    def _keep(self, lease: Lease, lost: Callable[[], None]) -> Iterator[Lease]:
        with self._lock:
            self._held[lease.model] = (lease, lost)
            if self._thread is None:
                self._thread = threading.Thread(target=self._renew_all, daemon=True)
                self._thread.start()
        try:
            yield lease
        finally:
            with self._lock:
                self._held.pop(lease.model, None)
            failpoint("lease.release")
            self._store.release(lease)

    def close(self) -> None:
        """Stop renewing."""
        self._closed.set()

    def _acquire(self, model: str, wait_seconds: float) -> Lease:
        from tenacity import Retrying, retry_if_exception_type, stop_after_delay, stop_when_event_set, wait_random
        from tenacity.nap import sleep_using_event

        attempts = Retrying(
            retry=retry_if_exception_type(LockedError),
            stop=stop_after_delay(wait_seconds) | stop_when_event_set(self._no_more_waiting),
            sleep=sleep_using_event(self._no_more_waiting),
            wait=wait_random(0.05, 0.5),
            reraise=True,
        )
        return attempts(self._store.acquire, model, self._holder, self._seconds)

    def _renew_all(self) -> None:
        while not self._closed.wait(self._seconds / 3):
            with self._lock:
                held = dict(self._held)
            for model, (lease, lost) in held.items():
                try:
                    self._store.renew(lease, self._seconds)
                except FencedError:
                    with self._lock:
                        self._held.pop(model, None)
                    lost()
                except EngineError:
                    continue  # the store did not answer; the next round tries again before the lease ends
