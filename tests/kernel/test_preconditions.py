"""Entity tags, cursors and texts: what is bound to a caller, and what a request may carry."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request

from services.kernel.cursors import Cursors
from services.kernel.errors import Malformed, PreconditionFailed, PreconditionRequired
from services.kernel.etags import etag, not_modified, require_match
from services.kernel.texts import Line, Moment, Prose

SECRET = b"s" * 32
TAG = etag(SECRET, UUID(int=1), b"{}")


def request(*headers: tuple[str, str]) -> Request:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return Request({"type": "http", "headers": raw})


def test_a_tag_is_of_one_caller_and_one_content() -> None:
    assert etag(SECRET, UUID(int=1), b"{}") == TAG
    assert len({TAG, etag(SECRET, UUID(int=2), b"{}"), etag(SECRET, UUID(int=1), b"[]")}) == 3


def test_a_change_without_if_match_is_told_so() -> None:
    """RFC 6585, section 3."""
    with pytest.raises(PreconditionRequired):
        require_match(request(), TAG)


@pytest.mark.parametrize("sent", ["*", TAG, f'"x", {TAG}', f' "x",{TAG} ,"y"'])
def test_if_match_takes_a_star_a_tag_and_a_list(sent: str) -> None:
    """RFC 9110, section 13.1.1."""
    require_match(request(("if-match", sent)), TAG)


def test_if_match_reads_every_field_line() -> None:
    """RFC 9110, section 5.3."""
    require_match(request(("if-match", '"x"'), ("if-match", TAG)), TAG)


@pytest.mark.parametrize("sent", ['"x"', f"W/{TAG}", TAG.strip('"'), "", f"x{TAG[1:]}"])
def test_if_match_compares_strongly(sent: str) -> None:
    """RFC 9110, section 13.1.1."""
    with pytest.raises(PreconditionFailed):
        require_match(request(("if-match", sent)), TAG)


@pytest.mark.parametrize(
    ("sent", "same"), [(TAG, True), (f"W/{TAG}", True), ("*", True), ('"x"', False)]
)
def test_if_none_match_compares_weakly(sent: str, same: bool) -> None:  # noqa: FBT001 - a case
    """RFC 9110, section 13.1.2."""
    told = not_modified(request(("if-none-match", sent)), TAG)
    assert (told is not None) is same
    if told is not None:
        assert (told.status_code, told.headers["etag"], told.body) == (304, TAG, b"")
    assert not_modified(request(), TAG) is None


def test_a_cursor_opens_for_its_caller_and_filter_only() -> None:
    cursors, caller, after = Cursors(SECRET), uuid4(), uuid4()
    sealed = cursors.seal(caller, "list", after)
    assert cursors.open(caller, "list", sealed, UUID) == after
    others = ((uuid4(), "list", sealed), (caller, "other", sealed), (caller, "list", sealed[:-4]))
    for who, what, cursor in others:
        with pytest.raises(Malformed):
            cursors.open(who, what, cursor, UUID)
    with pytest.raises(Malformed):
        Cursors(b"t" * 32).open(caller, "list", sealed, UUID)


@given(st.text(max_size=80))
def test_what_is_no_cursor_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        Cursors(SECRET).open("me", "list", text, int)


def test_a_cursors_length_does_not_tell_a_position() -> None:
    cursors = Cursors(SECRET)
    assert len({len(cursors.seal("me", "list", n)) for n in (0, 9, 10**6, 10**12)}) == 1


_line: TypeAdapter[str] = TypeAdapter(Line)
_prose: TypeAdapter[str] = TypeAdapter(Prose)


@pytest.mark.parametrize(
    "text", ["", " ", "a\nb", "a\x00", "\ud800", "x" * 201, "a\u202eb", "a\u2028b", "\x1b[1m"]
)
def test_a_line_is_printable_and_single(text: str) -> None:
    with pytest.raises(ValidationError):
        _line.validate_python(text)


def test_text_is_normalised() -> None:
    assert _line.validate_python("  Ta\u0304ne ") == "T\u0101ne"
    assert _prose.validate_python("one\r\ntwo\rthree\n") == "one\ntwo\nthree\n"


@given(st.text(min_size=1, max_size=200))
def test_whatever_a_line_lets_in_can_be_stored(text: str) -> None:
    try:
        line = _line.validate_python(text)
    except ValidationError:
        return
    assert "\x00" not in line.encode().decode()
    assert _line.validate_python(line) == line


def test_a_moment_has_an_offset_and_a_sensible_year() -> None:
    moment: TypeAdapter[object] = TypeAdapter(Moment)
    for text in ("2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:00:00-12:00"):
        with pytest.raises(ValidationError):
            moment.validate_python(text)
