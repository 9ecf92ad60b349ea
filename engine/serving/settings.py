"""The gateway's limits and time-outs. Times in seconds, sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class LogSettings:
    """Of the prediction log. `keep_*` bound what is kept of each model."""

    flush_seconds: float = 0.5
    max_pending: int = 32 << 20  # in memory, of each model
    segment_bytes: int = 32 << 20
    segment_seconds: float = 3600.0
    keep_seconds: float = 30 * 86400.0
    keep_bytes: int = 5 << 30


@dataclass(frozen=True)
class Settings:
    """Where the gateway listens and what it bears."""

    host: str = "127.0.0.1"
    port: int = 8080
    processes: int = 1  # for each release
    deadline: float = 5.0  # of a prediction
    memory: int | None = None  # of a model process
    max_head: int = 16 << 10
    max_body: int = 10 << 20
    max_bodies: int = 256 << 20  # of all requests that are being read
    max_connections: int = 4096
    max_in_flight: int = 256  # predictions that wait or are being made
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    idle_seconds: float = 75.0  # between two requests of a connection
    write_seconds: float = 30.0  # for a client to take its answer
    drain_seconds: float = 10.0
    take_over: bool = False  # the place of the gateway that serves the project, if there is one
    take_over_seconds: float = 120.0  # for the models to be ready before that
    poll_seconds: float = 0.25  # between two looks at the state
    flush_seconds: float = 0.5  # between two rows of evidence
    status_seconds: float = 1.0  # between two reports of what is in effect, at most
    require_token: bool = False  # also on loopback
    token: str | None = None  # a further one for predictions, beside those of the token file
    parent: int | None = None  # a process without which the gateway ends
    certificate: str | None = None
    key: str | None = None
    log: LogSettings = field(default_factory=LogSettings)
