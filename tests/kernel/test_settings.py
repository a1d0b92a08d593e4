"""Settings: one variable a field, read once, and a mistake named."""

from dataclasses import fields
from pathlib import Path

import pytest

from services.kernel.settings import PREFIX, BadSetting, Settings


def test_nothing_set_is_the_defaults() -> None:
    assert Settings.from_environment({}) == Settings()


def test_the_default_serves_this_machine_only() -> None:
    assert Settings().host == "127.0.0.1"


def test_every_field_is_read_from_the_variable_of_its_name() -> None:
    given = {
        spec.name: {int: "7", Path: "elsewhere", str: "192.0.2.1"}[spec.type]  # type: ignore[index]
        for spec in fields(Settings)
    }
    given |= {"log_format": "console", "log_level": "ERROR", "authz_url": "http://[::1]:8000/authz"}
    found = Settings.from_environment({PREFIX + k.upper(): v for k, v in given.items()})
    for spec in fields(Settings):
        assert getattr(found, spec.name) == spec.type(given[spec.name])  # type: ignore[operator]
        assert getattr(found, spec.name) != getattr(Settings(), spec.name)


def test_an_empty_variable_is_as_if_it_were_not_set() -> None:
    """An empty host would be every address, and an empty directory this one."""
    given = {PREFIX + spec.name.upper(): "" for spec in fields(Settings)}
    assert Settings.from_environment(given) == Settings()


@pytest.mark.parametrize("wrong", [" ", "eight", "8.5", "0x50"])
def test_a_number_that_is_none_is_named_and_not_repeated(wrong: str) -> None:
    with pytest.raises(BadSetting) as refused:
        Settings.from_environment({"CASEWARDEN_PORT": wrong})
    assert str(refused.value) == "CASEWARDEN_PORT is not a valid int"
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("PORT", wrong) for wrong in ("-1", "0", "65536")),
        *(("ACCESS_TOKEN_SECONDS", wrong) for wrong in ("-5", "0", "31536001")),
        ("SESSION_IDLE_SECONDS", "0"),
        ("SESSION_ABSOLUTE_SECONDS", "-1"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "LOUD"),
        *(
            ("AUTHZ_URL", wrong)
            for wrong in (
                "nonsense",
                "ftp://a.example",
                "https:///authz",
                "http://[a",
                "http://a:b",
            )
        ),
        ("AUTHZ_URL", "https://a.example/authz?x=1"),
    ],
)
def test_a_value_that_means_nothing_is_named_and_not_repeated(name: str, wrong: str) -> None:
    with pytest.raises(BadSetting, match=f"^CASEWARDEN_{name} is no") as refused:
        Settings.from_environment({f"CASEWARDEN_{name}": wrong})
    assert "\n" not in str(refused.value)
    assert "nonsense" not in str(refused.value)


def test_the_least_and_the_greatest_value_are_accepted() -> None:
    for port in ("1", "65535"):
        assert Settings.from_environment({"CASEWARDEN_PORT": port}).port == int(port)
    found = Settings.from_environment({"CASEWARDEN_SESSION_IDLE_SECONDS": "1"})
    assert found.session_idle_seconds == 1


@pytest.mark.parametrize("everybody", ["*", "192.0.2.1, *", "0.0.0.0/0", "::/0"])
def test_not_everybody_is_a_proxy(everybody: str) -> None:
    """AC-USE-1: where a request comes from is not for its sender to say."""
    with pytest.raises(BadSetting, match="CASEWARDEN_TRUSTED_PROXIES names everybody"):
        Settings.from_environment({"CASEWARDEN_TRUSTED_PROXIES": everybody})


@pytest.mark.parametrize("wrong", ["proxy.example", "192.0.2.1/24", "192.0.2.1:443"])
def test_a_proxy_that_would_never_be_recognised_is_refused(wrong: str) -> None:
    """Without it every request would come from the proxy, and detection by address be blind."""
    with pytest.raises(BadSetting, match="CASEWARDEN_TRUSTED_PROXIES is not a list") as refused:
        Settings.from_environment({"CASEWARDEN_TRUSTED_PROXIES": wrong})
    assert wrong not in str(refused.value)


def test_proxies_are_addresses_and_networks() -> None:
    named = "192.0.2.1, 10.0.0.0/8,2001:db8::/64,"
    found = Settings.from_environment({"CASEWARDEN_TRUSTED_PROXIES": named})
    assert found.trusted_proxies == named


def test_other_variables_are_left_alone() -> None:
    assert Settings.from_environment({"PORT": "1", "CASEWARDEN_UNKNOWN": "x"}) == Settings()
