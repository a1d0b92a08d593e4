"""Where the databases are, and what is said of the way to them."""

import ssl

import asyncpg
import pytest

from services.kernel.database import Server, is_connection_error


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://owner@/casewarden?host=/run/postgresql",
        "postgresql://owner@localhost/casewarden",
        "postgresql://owner@127.0.0.1:5433/casewarden",
        "postgresql://owner@[::1]/casewarden",
        "postgresql://owner@db.example/casewarden?sslmode=verify-full",
        "postgresql://owner@/casewarden?host=db.example&sslmode=disable",
    ],
)
def test_what_no_network_lies_before_or_whose_address_says_how_is_not_unproven(
    address: str,
) -> None:
    assert not Server.of(address).unproven


@pytest.mark.parametrize(
    ("url", "keys_url"),
    [
        ("postgresql://owner@db.example/casewarden", ""),
        ("postgresql://owner@192.0.2.7:5432/casewarden?application_name=x", ""),
        ("postgresql://owner@/casewarden?host=db.example", ""),
        ("postgresql://owner@localhost/casewarden", "postgresql://owner@keys.example/keys"),
    ],
)
def test_a_server_over_a_network_whose_address_says_nothing_is_unproven(
    url: str, keys_url: str
) -> None:
    """SG-5: whoever stands in between could read what passes."""
    assert Server.of(url, keys_url).unproven


def test_a_certificate_that_is_not_good_is_a_matter_of_the_connection() -> None:
    """It may be again: 503, and not the 500 of a fault of ours."""
    assert is_connection_error(ssl.SSLCertVerificationError(1, "expired"))
    assert not is_connection_error(asyncpg.exceptions.ClientConfigurationError("no address"))
