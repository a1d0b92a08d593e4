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
        spec.name: {int: "7", Path: "elsewhere", str: "text"}[spec.type]  # type: ignore[index]
        for spec in fields(Settings)
    }
    found = Settings.from_environment({PREFIX + k.upper(): v for k, v in given.items()})
    for spec in fields(Settings):
        assert getattr(found, spec.name) == spec.type(given[spec.name])  # type: ignore[operator]
        assert getattr(found, spec.name) != getattr(Settings(), spec.name)


@pytest.mark.parametrize("wrong", ["", "eight", "8.5", "0x50"])
def test_a_number_that_is_none_is_named_and_not_repeated(wrong: str) -> None:
    with pytest.raises(BadSetting) as refused:
        Settings.from_environment({"CASEWARDEN_PORT": wrong})
    assert str(refused.value) == "CASEWARDEN_PORT is not a valid int"
    assert refused.value.__cause__ is None


def test_other_variables_are_left_alone() -> None:
    assert Settings.from_environment({"PORT": "1", "CASEWARDEN_UNKNOWN": "x"}) == Settings()
