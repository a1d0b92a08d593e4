"""What the compose file gives the services: settings that there are, to whom they are for."""

import re
from dataclasses import fields

from services.kernel.settings import PREFIX, Settings
from tests.deploy.test_prometheus import DEPLOY

SERVICES = dict(
    re.findall(r"^  (\w+):\n((?:    .*\n|\n)+)", (DEPLOY / "compose.yml").read_text(), re.MULTILINE)
)
SHARED = (DEPLOY / "compose.yml").read_text().partition("\nservices:\n")[0]


def given(text: str) -> set[str]:
    """Return the settings that are passed on in ``text``."""
    return set(re.findall(rf"^ +({PREFIX}\w+):", text, re.MULTILINE))


def test_what_is_passed_on_are_settings() -> None:
    known = {PREFIX + spec.name.upper() for spec in fields(Settings)}
    passed = given(SHARED).union(*map(given, SERVICES.values()))
    assert passed
    assert passed <= known


def test_authz_is_told_of_the_mail_server_and_of_its_address() -> None:
    """SG-4: invitations that nobody takes from a spool reach nobody."""
    wanted = {f"{PREFIX}{name}" for name in ("SMTP_URL", "MAIL_SENDER", "AUTHZ_URL")}
    assert wanted <= given(SERVICES["authz"])


def test_every_service_is_told_of_the_proxy_in_front() -> None:
    """AC-USE-1: where requests come from is recorded by each of them."""
    assert f"{PREFIX}TRUSTED_PROXIES" in given(SHARED)
    for service in ("authz", "cases", "audit"):
        own = SERVICES[service]
        assert "environment:" not in own or "<<: *settings" in own
