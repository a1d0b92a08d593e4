"""The statements that load who is calling, and a record with everything around it.

What the caller sees nothing of is not read: the statement itself asks, by the policy's own
relations, whether anything may be seen, and touches content only then. A record that does not
exist is asked about as its neighbour and never read either. So what is hidden and what is missing
take the same path, the same work and the same time, however large a record is.
"""

from typing import Final

from services.authz.directory import CALLER_COLUMNS, caller_joins
from services.authz.engine import Policy
from services.cases.relations import EXISTS, seen_by

#: the position that rows of the cases service stand at
AT: Final = "(select min(position) from cases.projection) as at"


def in_force(moment: str) -> str:
    """Return the SQL of :meth:`services.authz.directory.Assignment.in_force` at ``moment``."""
    ended = f"(a.ends_at is null or a.ends_at > {moment})"
    return f"a.starts_at <= {moment} and {ended} and not a.revoked"


def of_record(policy: Policy) -> str:
    """Return the statement that loads a record: $1 to $4 are people, sessions, ids and moments.

    ``r`` is the record or its neighbour. ``sees`` holds nothing unless an assignment of the caller
    sees something of ``r``; ``content`` nothing unless ``r`` is also the record asked for.
    ``before`` holds the states of those of the learner's earlier records that the caller may find
    in its history, and the ids ``around`` of all, since what becomes of any may bring it there.
    """
    seen = seen_by(policy)
    return f"""
select {AT}, {CALLER_COLUMNS}, r.id as record_id, r.kind, r.student_id, content.*
from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[])
    with ordinality as one(person_id, session_id, record_id, moment, place)
    {caller_joins("cases", "one.person_id", "one.session_id")}
    left join lateral (
        (select * from cases.record where id >= one.record_id order by id limit 1)
        union all
        (select * from cases.record where id < one.record_id order by id desc limit 1)
        limit 1
    ) r on true
    left join cases.student st on st.id = r.student_id
    left join lateral (
        select true as anything
        from cases.assignment a, (select st.school_id) s
        where a.person_id = one.person_id and {in_force("one.moment")} and {seen}
        limit 1
    ) sees on true
    left join lateral (
        select r.state as record, r.things, st.state as student, before.around,
            before.ids as earlier_ids, before.states as earlier,
            (select array_agg(q.state) from cases.person q where q.id = any(r.people)) as people,
            (select array_agg(o.state) from cases.organisation o where o.id = any(
                r.organisations || coalesce(before.organisations, '{{}}'))) as organisations
        from (
            select array_agg(r.id) as around,
                array_agg(r.id order by r.created_at, r.id) filter (where told.it) as ids,
                array_agg(r.state order by r.created_at, r.id) filter (where told.it) as states,
                array_agg(r.school_id) filter (where told.it)
                    || array_agg(r.provider_id) filter (where told.it) as organisations
            from (select r.id, r.student_id, r.provider_id, r.created_at) this
            join cases.record r on r.student_id = this.student_id and r.id <> this.id
                and r.created_at <= this.created_at and {EXISTS.sql}
            cross join lateral (
                select (r.kind = 'request' or r.status = 'closed') and exists (
                    select from cases.assignment a, (select st.school_id) s
                    where a.person_id = one.person_id and {in_force("one.moment")} and ({seen}
                        or r.kind = 'case' and r.provider_id is distinct from this.provider_id)
                ) as it offset 0
            ) told
            where sees.anything
        ) before
        where sees.anything and r.id = one.record_id
    ) content on true
order by one.place
"""


#: who is calling: $1 and $2 are a person and a session
CALLER: Final = f"""
select {AT}, {CALLER_COLUMNS} from (select 1) as one {caller_joins("cases", "$1", "$2")}
"""
