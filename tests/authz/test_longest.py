"""As long a reason as a body may hold can be recorded, and a longer one is malformed at once."""

from typing import Final

from tests.authz.staffed import KOTARE, MATAI, Region

#: 40,000 bytes, a sign that JSON writes as two among them; and one more
LONGEST: Final = "é" * 19_999 + '"'
ONE_MORE: Final = "é" * 19_999 + "語"


async def test_the_longest_reasons_are_recorded(region: Region) -> None:
    """SG-3, SG-21."""
    contact = f"/v1/people/{region.people['contact']}"
    matai = f"/v1/organisations/{region.organisations[MATAI]}/reset"
    named = {"person_ids": [str(region.people["office"])]}
    for path, more in ((f"{contact}/reset", {}), (f"{contact}/suspend", {}), (matai, named)):
        refused = await region.call("leader", "POST", path, {"reason": ONE_MORE, **more})
        assert (refused.status_code, refused.json()["detail"]) == (
            422,
            "body: texts_over_40000_bytes",
        )
        done = await region.call("leader", "POST", path, {"reason": LONGEST, **more})
        assert done.status_code == 200, (path, done.text)


async def test_a_reason_that_is_too_long_is_malformed_of_whomever_it_is(region: Region) -> None:
    """422 comes before 404: it says nothing of who there is."""
    path = f"/v1/people/{region.organisations[KOTARE]}/suspend"
    for reason, status in (("x" * 20_000, 404), ("\N{GRINNING FACE}" * 20_000, 422)):
        refused = await region.call("leader", "POST", path, {"reason": reason})
        assert refused.status_code == status
