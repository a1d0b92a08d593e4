"""Logs: JSON in production and readable on a terminal; they carry references only (SG-18).

Owns standard error: what Python and libraries would write there by themselves goes through here,
and is told by its type and place only, for each may quote what it was given.
"""

import logging
import sys
import threading
import warnings
from types import TracebackType
from typing import Final, TextIO

import structlog
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from services.kernel.telemetry import described, line_of

# Without the local variables that structlog shows by itself: they hold what is sealed elsewhere.
_traceback: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def configure_logging(fmt: str, level: str = "INFO") -> None:
    """Send structlog to standard error: ``json`` lines, or ``console`` for people.

    And with it what libraries log, warn of and try again, and errors that nobody caught.
    """
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        if fmt == "console"
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _traceback if fmt == "json" else _pass,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Libraries()], level=logging.WARNING, force=True)
    warnings.showwarning = _warned
    set_on_retry_hooks((_tried_again,))
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = lambda unraisable: _said("unraisable", unraisable.exc_value)


class _Libraries(logging.Handler):
    """Says that a library logged something, and where; never what, which may quote its input."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        told = {} if error is None else described(error)
        line = f"{record.module}:{record.lineno}"
        structlog.get_logger().log(record.levelno, "library", logger=record.name, line=line, **told)


def _said(event: str, error: BaseException | None) -> None:
    told = {} if error is None else described(error)
    # whatever level is logged: nothing else says why a process ended
    structlog.get_logger().critical(event, **told)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, Exception):
        _said("uncaught", error)
    else:
        sys.__excepthook__(kind, error, trace)


def _uncaught_in_thread(thread: threading.ExceptHookArgs) -> None:
    if not isinstance(thread.exc_value, SystemExit):
        _said("uncaught_in_thread", thread.exc_value)


def _warned(
    message: Warning | str,  # noqa: ARG001 - not told: it may quote what it is about
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001 - as :func:`warnings.showwarning` has it
    line: str | None = None,  # noqa: ARG001 - so too
) -> None:
    structlog.get_logger().warning(
        "warned", category=category.__name__, line=line_of(filename, lineno)
    )


def _tried_again(details: RetryDetails) -> None:
    told = described(details.caused_by)
    structlog.get_logger().warning("tried_again", tries=details.retry_num, **told)


def _pass(
    _logger: object, _name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    return event
