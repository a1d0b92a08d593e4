"""Standard error of a process that serves: what happened and where, never what was in it."""

import json
import subprocess
import sys
from typing import Any

import pytest

SECRET = "the password is swordfish"
_BEGIN = f"""
import asyncio, logging, threading, warnings
from services.kernel.logs import configure_logging
configure_logging("json", "INFO")
def fail(): raise ValueError({SECRET!r})
"""


def told(script: str) -> dict[str, Any]:
    """Return the one line a process with our logs wrote while it did ``script``."""
    command = [sys.executable, "-c", _BEGIN + script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert SECRET not in done.stderr
    (line,) = done.stderr.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


_FINALIZED = """
class Held:
    def __del__(self): fail()
Held()
"""
_TRIED_AGAIN = f"""
from services.kernel.background import patiently
tries = [ConnectionError({SECRET!r})]
async def work():
    if tries: raise tries.pop()
asyncio.run(patiently(work))
"""
#: as pydantic does of what it serializes
_WARNED = f"""
from pydantic import BaseModel
class Note(BaseModel):
    text: str
Note.model_construct(text=[{SECRET!r}]).model_dump_json()
"""


@pytest.mark.parametrize(
    ("script", "event", "of"),
    [
        ("fail()", "uncaught", ("error", "ValueError")),
        ("threading.Thread(target=fail).start()", "uncaught_in_thread", ("error", "ValueError")),
        (_FINALIZED, "unraisable", ("error", "ValueError")),
        (_TRIED_AGAIN, "tried_again", ("error", "ConnectionError")),
        (_WARNED, "warned", ("category", "UserWarning")),
        (f"logging.getLogger('x').error({SECRET!r})", "library", ("logger", "x")),
    ],
    ids=["uncaught", "thread", "finalizer", "retry", "warning", "library"],
)
def test_what_libraries_and_python_say_is_told_without_what_they_quote(
    script: str, event: str, of: tuple[str, str]
) -> None:
    """SG-18: logs carry references only, whoever writes them."""
    line = told(script)
    assert (line["event"], line[of[0]]) == (event, of[1])


def test_why_a_process_ended_is_told_whatever_level_is_logged() -> None:
    line = told("configure_logging('json', 'CRITICAL')\nfail()")
    assert (line["event"], line["error"]) == ("uncaught", "ValueError")
