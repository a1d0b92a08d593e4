"""An invented region to try Casewarden with: schools, providers, staff, students and their cases.

The face of the package: `build_region` and the credentials that belong to it.
It writes nothing anywhere; loading the region is somebody else's task.
"""

from services.demo.credentials import (
    SERVICE_CLIENTS,
    ServiceClient,
    password_for,
    secret_for,
    totp_secret_for,
)
from services.demo.region import Region, build_region

__all__ = [
    "SERVICE_CLIENTS",
    "Region",
    "ServiceClient",
    "build_region",
    "password_for",
    "secret_for",
    "totp_secret_for",
]
