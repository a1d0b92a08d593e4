"""What can be set from outside, read once at start from the environment.

Each field is one variable, ``CASEWARDEN_`` and its name in capitals; the README lists them and a
test compares the two.
"""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

PREFIX = "CASEWARDEN_"


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
            if name not in environ:
                continue
            text = environ[name]
            try:
                values[spec.name] = spec.type(text) if callable(spec.type) else text
            except ValueError:
                kind = getattr(spec.type, "__name__", spec.type)
                raise BadSetting(f"{name} is not a valid {kind}") from None
        settings = cls(**values)  # type: ignore[arg-type] # one converter per field, checked above
        _name_proxies(settings.trusted_proxies)
        return settings


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
