"""What can be set from outside, read once at start from the environment.

Each field is one variable, ``CASEWARDEN_`` and its name in capitals; the README lists them and a
test compares the two. A variable that is empty is as if it were not set.
"""

import ipaddress
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

PREFIX: Final = "CASEWARDEN_"
_LOG_FORMATS: Final = ("json", "console")
_PORTS: Final = range(1, 65_536)
#: a year is longer than any token or session should live, and no moment overflows
_SECONDS: Final = range(1, 31_536_001)


class BadSetting(Exception):  # noqa: N818 - shown to a person as one line
    """A variable cannot be read as what it should be."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one installation."""

    host: str = "127.0.0.1"
    port: int = 8000
    data: Path = Path(".casewarden")
    database_url: str = ""
    keys_url: str = ""
    log_format: str = "json"
    log_level: str = "INFO"
    trusted_proxies: str = ""
    authz_url: str = ""
    access_token_seconds: int = 300
    session_idle_seconds: int = 1800
    session_absolute_seconds: int = 43200
    smtp_url: str = ""
    mail_sender: str = ""
    spool: str = ""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read ``CASEWARDEN_*``; raise :class:`BadSetting` naming the variable that is wrong."""
        values: dict[str, object] = {}
        for spec in fields(cls):
            name = PREFIX + spec.name.upper()
            text = environ.get(name)
            if not text:
                continue
            try:
                values[spec.name] = spec.type(text) if callable(spec.type) else text
            except ValueError:
                kind = getattr(spec.type, "__name__", spec.type)
                raise BadSetting(f"{name} is not a valid {kind}") from None
        settings = cls(**values)  # type: ignore[arg-type] # one converter per field, checked above
        settings._check()
        return settings

    def _check(self) -> None:
        """Raise :class:`BadSetting` where a value is of its type and means nothing."""
        _within("PORT", self.port, _PORTS)
        for name in ("access_token_seconds", "session_idle_seconds", "session_absolute_seconds"):
            _within(name.upper(), getattr(self, name), _SECONDS)
        if self.log_format not in _LOG_FORMATS:
            raise BadSetting(f"{PREFIX}LOG_FORMAT is none of {', '.join(_LOG_FORMATS)}")
        if self.log_level not in logging.getLevelNamesMapping():
            raise BadSetting(f"{PREFIX}LOG_LEVEL is not a level, such as INFO or WARNING")
        if self.authz_url and not _is_address(self.authz_url):
            raise BadSetting(f"{PREFIX}AUTHZ_URL is not of the form https://host/path")
        _name_proxies(self.trusted_proxies)


def _within(name: str, value: int, allowed: range) -> None:
    if value not in allowed:
        raise BadSetting(f"{PREFIX}{name} is not from {allowed[0]} to {allowed[-1]}")


def _is_address(url: str) -> bool:
    """Say whether ``url`` is one of HTTP with a host, and names nothing below its path."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    named = parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0
    return named and url.isprintable() and not set(url) & set(" ?#")


def _name_proxies(trusted: str) -> None:
    """Raise unless ``trusted`` names proxies by address or network, and not everybody.

    Where everybody is a proxy, a request comes from wherever its sender says; a host's name is
    compared with addresses, so it would never be one.
    """
    name = f"{PREFIX}TRUSTED_PROXIES"
    for proxy in filter(None, map(str.strip, trusted.split(","))):
        try:
            everybody = proxy == "*" or ipaddress.ip_network(proxy).prefixlen == 0
        except ValueError:
            raise BadSetting(f"{name} is not a list of addresses and networks") from None
        if everybody:
            raise BadSetting(f"{name} names everybody: name the proxies in front, by address")
