"""Metrics: every name, and what its labels can hold, in one place; and what is said of an error.

No label ever holds a person, a learner, an address or free text (SG-18). Where logs go is
:mod:`services.kernel.logs`.
"""

import traceback
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_SERVICE = "service: authz, cases or audit."

EVENTS_APPENDED: Final = Counter(
    "casewarden_events_appended_total",
    f"Events offered to the log. {_SERVICE} outcome: allowed (durable) or refused (a group the log"
    " answered stale, expired, conflict or duplicate).",
    ("service", "outcome"),
)
APPEND_SECONDS: Final = Histogram(
    "casewarden_append_duration_seconds",
    f"Time from asking for an append until it was durable or refused. {_SERVICE}",
    ("service",),
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
APPEND_UNAVAILABLE: Final = Counter(
    "casewarden_append_unavailable_total",
    f"Appends that could not be made durable in time; the answer was 503. {_SERVICE}",
    ("service",),
)
APPEND_QUEUE: Final = Gauge(
    "casewarden_append_queue_length", f"Groups waiting to be appended. {_SERVICE}", ("service",)
)
STALE_DECISIONS: Final = Counter(
    "casewarden_stale_decisions_total",
    f"Decisions taken again because a fact they rested on changed. {_SERVICE}",
    ("service",),
)
HTTP_REQUESTS: Final = Counter(
    "casewarden_http_requests_total",
    f"Requests answered. {_SERVICE} method: the HTTP method; route: the route's template, or"
    " 'unmatched'; status: the HTTP status.",
    ("service", "method", "route", "status"),
)
HTTP_SECONDS: Final = Histogram(
    "casewarden_http_request_duration_seconds",
    f"Time to answer a request. {_SERVICE} method: the HTTP method; route: the route's template.",
    ("service", "method", "route"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
PROJECTION_POSITION: Final = Gauge(
    "casewarden_projection_position",
    "Position of the last event folded. projection: its name.",
    ("projection",),
)
PROJECTION_LAG_EVENTS: Final = Gauge(
    "casewarden_projection_lag_events",
    "Positions between a projection and the head of the log. projection: its name.",
    ("projection",),
)
PROJECTION_LAG_SECONDS: Final = Gauge(
    "casewarden_projection_lag_seconds",
    "Age of the oldest event not yet folded, 0 when there is none; grows while the database is"
    " away. projection: its name.",
    ("projection",),
)
PROJECTION_STOPPED: Final = Gauge(
    "casewarden_projection_stopped",
    "1 when a fold met an event it does not know and its service answers 503. projection: its"
    " name.",
    ("projection",),
)
LOG_POSITION: Final = Gauge("casewarden_log_position", "Position of the newest event known here.")
LOGIN_ATTEMPTS: Final = Counter(
    "casewarden_login_attempts_total",
    "Attempts to log in. outcome: allowed, failed or throttled.",
    ("outcome",),
)
SERVICE_CLIENTS: Final = Gauge(
    "casewarden_service_clients",
    "Service clients there are or were, as authz counted them last; less while its read models are"
    " folded anew, 0 where it does not run.",
)
MESSAGES: Final = Counter(
    "casewarden_messages_total",
    "Attempts to deliver a message to staff. channel: smtp or spool; outcome: delivered, failed"
    " (tried again later) or given_up.",
    ("channel", "outcome"),
)
ALERTS_RAISED: Final = Counter(
    "casewarden_alerts_raised_total",
    "Alerts raised by detection, and again when one's severity changes. rule: the rule's name;"
    " severity: low, medium or high.",
    ("rule", "severity"),
)
ALERTS_OPEN: Final = Gauge(
    "casewarden_alerts_open", "Alerts not yet resolved. rule: the rule's name.", ("rule",)
)
BACKGROUND_LAST_SUCCESS: Final = Gauge(
    "casewarden_background_last_success_timestamp_seconds",
    "When work beside the requests last went well, or began, in Unix seconds. task: its name.",
    ("task",),
)
BUILD_INFO: Final = Gauge(
    "casewarden_build_info", "Always 1. version: the version running.", ("version",)
)

METRIC_NAMES: Final = frozenset(
    {
        "casewarden_events_appended_total",
        "casewarden_append_duration_seconds",
        "casewarden_append_unavailable_total",
        "casewarden_append_queue_length",
        "casewarden_stale_decisions_total",
        "casewarden_http_requests_total",
        "casewarden_http_request_duration_seconds",
        "casewarden_projection_position",
        "casewarden_projection_lag_events",
        "casewarden_projection_lag_seconds",
        "casewarden_projection_stopped",
        "casewarden_log_position",
        "casewarden_login_attempts_total",
        "casewarden_service_clients",
        "casewarden_messages_total",
        "casewarden_alerts_raised_total",
        "casewarden_alerts_open",
        "casewarden_background_last_success_timestamp_seconds",
        "casewarden_build_info",
    }
)


def described(error: BaseException) -> dict[str, object]:
    """Return the type of ``error`` and the places it passed, the innermost last.

    Never its message nor its causes': a database, a parser or a validator quotes what it was given.
    """
    return {"error": type(error).__name__, "frames": places_of(error)}


def places_of(error: BaseException) -> list[str]:
    """Return the places in code that ``error`` passed as ``file:line``, the innermost last."""
    frames = traceback.extract_tb(error.__traceback__)
    return [line_of(frame.filename, frame.lineno) for frame in frames]


def line_of(filename: str, number: int | None) -> str:
    """Return a place in code as ``file:line``, without where it is installed."""
    return f"{filename.rpartition('site-packages/')[2].rpartition('/services/')[2]}:{number}"
