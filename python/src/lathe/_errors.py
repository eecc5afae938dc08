"""Exceptions. Each carries the sentence that the command line would print, and `code`, which kind of fault it is."""
from __future__ import annotations


class Error(Exception):
    """The base of all of them. A caller's mistake is also a ValueError, a missing file also a FileNotFoundError, ..."""

    code = "internal_error"


class InvalidArgumentError(Error, ValueError):
    """A value out of its range or of the wrong kind."""

    code = "invalid_argument"


class NotFoundError(Error, FileNotFoundError):
    """A file, tensor, key or model is missing."""

    code = "not_found"


class CorruptError(Error, ValueError):
    """Bytes that contradict themselves: truncated, a bad checksum, a bad structure."""

    code = "corrupt"


class UnsupportedError(Error, NotImplementedError):
    """Well-formed, but nothing lathe can run."""

    code = "unsupported"


class MismatchError(Error, RuntimeError):
    """An engine that belongs to another machine, model or version."""

    code = "mismatch"


class ResourceExhaustedError(Error, RuntimeError):
    """Memory, disk, queue or KV budget."""

    code = "resource_exhausted"


class IoError(Error, OSError):
    """The operating system said no."""

    code = "io_error"


class CancelledError(Error, RuntimeError):
    """It was cancelled, and not by whoever waits for it. (A cancelled task raises asyncio.CancelledError.)"""

    code = "cancelled"


class DeadlineExceededError(Error, TimeoutError):
    """It took longer than it may."""

    code = "deadline_exceeded"


class UnavailableError(Error, RuntimeError):
    """Closed, shutting down, or the device is lost."""

    code = "unavailable"


class InternalError(Error, RuntimeError):
    """A fault of lathe's own."""

    code = "internal_error"


_BY_CODE = {kind.code: kind for kind in (
    InvalidArgumentError, NotFoundError, CorruptError, UnsupportedError, MismatchError, ResourceExhaustedError, IoError,
    CancelledError, DeadlineExceededError, UnavailableError, InternalError)}


def of_code(code: str, message: str) -> Error:
    """The exception of a code, for the extension module."""
    return _BY_CODE.get(code, InternalError)(message)
