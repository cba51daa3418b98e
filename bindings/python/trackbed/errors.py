"""What can go wrong. Everything Trackbed raises by itself is a `TrackbedError`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Optional, Type

if TYPE_CHECKING:
    from .run import Run


class TrackbedError(Exception):
    """An error of Trackbed. `code` is its kind, such as "not_found"."""

    code = "unknown"


class InvalidArgument(TrackbedError, ValueError):
    """Something that was given makes no sense. `diagnostics` holds all mistakes of a document."""

    code = "invalid_argument"

    def __init__(self, message: str, diagnostics: Optional[List[Dict[str, Any]]] = None) -> None:
        super().__init__(message)
        self.diagnostics = diagnostics or []


class NotFound(TrackbedError, LookupError):
    """There is no such thing."""

    code = "not_found"


class AlreadyExists(TrackbedError):
    """It is there already."""

    code = "already_exists"


class PermissionDenied(TrackbedError, PermissionError):
    """Who asks may not. The message names the right or the rule that is in the way."""

    code = "permission_denied"


class FailedPrecondition(TrackbedError):
    """Not in this state: the store is held by another process, the run has ended, …"""

    code = "failed_precondition"


class ResourceExhausted(TrackbedError):
    """There is not enough of something: slots, quota, disk."""

    code = "resource_exhausted"


class Unavailable(TrackbedError):
    """Not just now; the same may work later."""

    code = "unavailable"


class DataLoss(TrackbedError):
    """What is stored is damaged."""

    code = "data_loss"


class InternalError(TrackbedError):
    """A mistake in Trackbed."""

    code = "internal"


class ForkError(FailedPrecondition):
    """An engine was used in a process forked from the one that opened it."""


class BuildError(InvalidArgument):
    """A pipeline was put together wrongly. The message begins with the place: `file.py:12:`."""


class CarryError(BuildError):
    """Code or a value cannot travel to the process of a task."""


class RunFailed(TrackbedError):
    """A run ended with a failed task. `run` has all the rest."""

    code = "run_failed"

    def __init__(self, message: str, run: "Run") -> None:
        super().__init__(message)
        self.run = run


class RunCancelled(TrackbedError):
    """A run was cancelled before its end."""

    code = "run_cancelled"

    def __init__(self, message: str, run: "Run") -> None:
        super().__init__(message)
        self.run = run


_CODED: List[Type[TrackbedError]] = [
    InvalidArgument,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    FailedPrecondition,
    ResourceExhausted,
    Unavailable,
    DataLoss,
    InternalError,
]
BY_CODE: Dict[str, Type[TrackbedError]] = {error.code: error for error in _CODED}
