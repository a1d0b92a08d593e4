"""Casewarden: authz, cases and audit over one append-only log, and the kernel they share.

What libraries would read from the environment, and nobody sets for Casewarden, leaves it here,
before any of them is imported: the keys of TLS connections (to the mail server, to the database) in
a file, counts in a file, exporters and propagators. Nor does a validator load plugins, which would
be handed what it validates (SG-18).
"""

from os import environ
from typing import Final

_UNASKED: Final = ("SSLKEYLOGFILE", "PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")

for _name in list(environ):
    if _name in _UNASKED or _name.startswith("OTEL_"):
        del environ[_name]
environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
