"""Configure logging: structlog to stderr, as JSON for machines or coloured lines for people.

Every line is one object, also for libraries' records, Python's warnings and uncaught exceptions.
Never log a secret, a customer id or a slug: each call names the values it logs.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from types import TracebackType
from typing import Any, cast

import structlog

from pool.telemetry.discreet import discreet_traceback, write_discreet_traceback

# At info, httpx logs the URL of every request, and Celery every task, received and done, and
# every connection to the broker. At debug, SQL libraries log the values of every statement,
# including those of customers.
_CHATTY = (
    "alembic",
    "amqp",
    "celery",
    "httpcore",
    "httpx",
    "kombu",
    "opentelemetry",
    "sqlalchemy",
    "uvicorn",
)

log = structlog.get_logger()


def configure_logging(*, log_format: str, log_level: str) -> None:
    """Send the records of structlog and the standard library through one renderer."""
    level = logging.getLevelNamesMapping()[log_level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
        if log_format == "console"
        else structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(log_format),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))


def log_strays() -> None:
    """Log Python's warnings and uncaught exceptions too. For processes that serve."""
    warnings.showwarning = cast(Any, _show_warning)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _renderers(log_format: str) -> list[structlog.typing.Processor]:
    if log_format == "console":
        return [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                # The library's default shows local variables: keys and customer ids.
                exception_formatter=write_discreet_traceback,
            )
        ]
    return [
        structlog.processors.ExceptionRenderer(discreet_traceback),
        _in_order,
        structlog.processors.JSONRenderer(default=str),
    ]


def _in_order(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Put time, level and event first, for people who read the raw lines."""
    first = ("timestamp", "level", "event")
    return {**{name: event[name] for name in first if name in event}, **event}


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    log.warning("python warning", category=category.__name__, text=" ".join(str(message).split()))


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    log.critical("uncaught exception", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(failed: threading.ExceptHookArgs) -> None:
    name = failed.thread.name if failed.thread else None
    log.critical(
        "uncaught exception",
        thread=name,
        exc_info=(failed.exc_type, failed.exc_value, failed.exc_traceback),
    )
