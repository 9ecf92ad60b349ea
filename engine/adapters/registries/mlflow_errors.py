"""MLflow's exceptions as this engine's errors: worth another try, the user's to mend, or neither."""

from __future__ import annotations

from collections.abc import Iterator

from engine.errors import EngineError, NotSupportedError, StepError, TransientError, UsageError

_TRANSIENT_CODES = {"TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "ABORTED", "CANCELLED", "DEADLINE_EXCEEDED"}
_DENIED_CODES = {"UNAUTHENTICATED", "PERMISSION_DENIED"}


def described(error: Exception) -> dict[str, str]:
    """`kind` (an error's class name), `message` and `remedy` for what came out of MLflow.

    Of a TransientError the message is the cause alone: the caller knows the place and how far it came.
    """
    mapped = _mapped(error)
    return {"kind": type(mapped).__name__, "message": mapped.message, "remedy": mapped.remedy}


def _mapped(error: Exception) -> EngineError:
    if isinstance(error, TransientError | UsageError | NotSupportedError | StepError):
        return error
    chain = list(_chain(error))
    code = getattr(error, "error_code", "")
    status = _http_status(chain)
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if status in (401, 403) or code in _DENIED_CODES:
        return UsageError(
            f"MLflow refused access: {text}",
            remedy="Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.",
        )
    if code in _TRANSIENT_CODES or status >= 500 or status == 429 or any(_is_network(e) for e in chain):
        return TransientError(_cause(chain))
    if code == "ENDPOINT_NOT_FOUND" or status == 404:
        return NotSupportedError(
            f"this tracking server lacks something that is needed: {text}",
            remedy="Is the URI that of an MLflow server, version 3 or newer?",
        )
    if isinstance(error, OSError):
        return StepError(
            f"a file cannot be written: {text}", remedy="Mend that, then apply again: it goes on from there."
        )
    return StepError(f"MLflow failed: {type(error).__name__}: {text}", remedy="The registry's log has the details.")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _cause(chain: list[BaseException]) -> str:
    """What lies at the root, such as `[Errno 111] Connection refused`, without the requests that led there."""
    texts = [line for error in reversed(chain) if (line := str(error).partition("\n")[0].strip())]
    return texts[0] if texts else type(chain[0]).__name__


def _http_status(chain: list[BaseException]) -> int:
    for error in chain:
        response = getattr(error, "response", None)
        status = getattr(response, "status_code", None)
        if isinstance(status, int):
            return status
        get = getattr(error, "get_http_status_code", None)
        if get is not None and getattr(error, "error_code", "") != "INTERNAL_ERROR":
            return int(get())
    return 0


def _is_network(error: BaseException) -> bool:
    import requests
    import urllib3

    return isinstance(error, requests.ConnectionError | requests.Timeout | urllib3.exceptions.HTTPError | TimeoutError)
