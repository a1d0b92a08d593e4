-- The header line of a body: id, type, stream, version.
create or replace function log.line(body bytea) returns text
language sql stable parallel safe
return convert_from(substring(body for greatest(position('\x0a'::bytea in body) - 1, 0)), 'UTF8');

-- Whether a body is an event: one way to read its header line, and a JSON object with the time it was
-- recorded at. No search_path of its own, so that it becomes a part of the plan of whoever calls it;
-- what it names was found when it was created.
create or replace function log.is_event(
    body bytea, line text, id text, type text, stream text, version text
) returns boolean
language sql stable parallel safe
return coalesce(
    line = id::uuid::text || ' ' || type || ' ' || stream || ' ' || version
    and case when stream = '-' then version = '-'
        else stream ~ '^[a-z0-9:._-]+$' and version::int::text = version end
    and octet_length(body) <= 65535
    and convert_from(substring(body from octet_length(line) + 2), 'UTF8') is json object
    and translate(
        encode(substring(body from position('"recorded_at":"'::bytea in body) + 15 for 28), 'escape'),
        '123456789', '000000000')
        like any (array['0000-00-00T00:00:00Z"%', '0000-00-00T00:00:00.000000Z"']), false);
revoke execute on function log.line, log.is_event from public;

-- Appends groups of events. A group is everything one request says: it lands whole or not at all.
--
-- Per event: bodies, in order. What is indexed is read from the header line of the body, so that it
-- is what is signed. grps are the groups the events belong to (1-based, nondecreasing); null when
-- each event is a group of its own.
-- Per group: g_at (position the facts were read at) and g_until (how long the decision holds; null
-- when none ends). Guards (k_), touches (t_) and once-keys (o_) are flattened pairs of group and
-- key, null when there are none. A once-key belongs to the role that holds it: another role's of
-- the same bytes is another key.
--
-- Answers one status per group -- 0 ok, 1 stale, 2 expired, 3 conflict, 4 duplicate -- with, for ok,
-- the position of its last fact (or of its first event, where it has no fact); for stale, the newest
-- position that touched one of its guards; for duplicate, the position of the event that already
-- holds the once-key; for conflict, the position of the newest event of the stream.
--
-- A group that refuses never touches its neighbours. What raises is a malformed call: a body that is
-- not a header line and a JSON object with the time it was recorded at, an event type that is not
-- registered to the calling role, a stream that is not of its type, a group without an event or an event
-- without a group, or a touch of a group without a fact (whoever reads facts would wait for it for
-- ever). Whether a fold understands what is in the
-- JSON is not known here: see docs/decisions/0013.
create or replace function log.append(
    bodies bytea[], grps int[], g_at bigint[], g_until timestamptz[],
    k_grp int[], k_key bigint[], t_grp int[], t_key bigint[], o_grp int[], o_key bytea[],
    out status int[], out at bigint[]
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
    n int := cardinality(g_at);
    ids uuid[];
    types text[];
    streams text[];
    versions int[];
    valid boolean;
    facts boolean;
    single boolean;
    first int := 1;
    last int;
    head bigint;
    newest bigint;
    oldest bigint;
    ending timestamptz;
    added bigint;
    moment timestamptz;
    row record;
    lone text;
    lone_id text;
    lone_type text;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'append needs read committed';
    end if;
    if current_setting('synchronous_commit') <> 'on' then
        perform set_config('synchronous_commit', 'on', true);
    end if;
    if n = 1 and cardinality(bodies) = 1 and grps is null and t_grp is null and o_key is null then
        lone := log.line(bodies[1]);
        lone_id := split_part(lone, ' ', 1);
        lone_type := split_part(lone, ' ', 2);
    end if;
    -- The commonest call, one observation, pays for what it needs: an expression over scalars is
    -- evaluated without a plan to start.
    if split_part(lone, ' ', 3) = '-' then
        if log.is_event(bodies[1], lone, lone_id, lone_type, '-', split_part(lone, ' ', 4)) then
            perform pg_advisory_xact_lock(7233001, 1);
            -- A later statement: it sees everything that was committed before the lock was ours.
            select (select coalesce(max(e.position) + 1, 0) from log.event e),
                   (select max(g.position) from log.guard g where g.key = any(k_key)),
                   (select not t.fact from log.event_type t where t.name = lone_type and t.role = session_user)
            into head, newest, valid;
        end if;
        if valid is not true then
            raise exception 'event type not registered to %, or body is not an event', session_user
                using errcode = 'insufficient_privilege';
        end if;
        if newest > g_at[1] then
            status := array[1];
            at := array[newest];
        elsif g_until[1] <= clock_timestamp() then
            status := array[2];
            at := array[null::bigint];
        else
            insert into log.event (position, id, type, body)
            values (head, lone_id::uuid, lone_type, bodies[1]);
            insert into log.event_id (id, position) values (lone_id::uuid, head);
            status := array[0];
            at := array[head];
        end if;
        return;
    end if;
    -- unnest gives the events in their order, and one pass collects all columns alike.
    select array_agg(e.id::uuid), array_agg(e.type), array_agg(nullif(e.stream, '-')),
           array_agg(nullif(e.version, '-')::int), bool_or(e.stream <> '-'),
           bool_and(log.is_event(e.body, e.line, e.id, e.type, e.stream, e.version))
    into ids, types, streams, versions, facts, valid
    from (
        select l.body, l.line, split_part(l.line, ' ', 1) as id, split_part(l.line, ' ', 2) as type,
               split_part(l.line, ' ', 3) as stream, split_part(l.line, ' ', 4) as version
        from (select b.body, log.line(b.body) as line from unnest(bodies) b(body) offset 0) l offset 0
    ) e;
    if valid is not true or exists (
        select from (select distinct e.type, split_part(e.stream, ':', 1) as kind
                     from unnest(types, streams) e(type, stream)) e
        left join log.event_type t on t.name = e.type and t.role = session_user
        where t.name is null or t.fact <> (e.kind is not null)
           or (t.fact and e.kind <> all (t.streams))
    ) then
        raise exception 'event type or stream not registered to %, or body is not an event', session_user
            using errcode = 'insufficient_privilege';
    end if;
    single := grps is null;
    if cardinality(bodies) <> coalesce(cardinality(grps), n) or not single and (
        grps[1] is distinct from 1 or grps[cardinality(grps)] is distinct from n or exists (
            select from (
                select g.grp - lag(g.grp) over (order by g.ord) as step, g.ord
                from unnest(grps) with ordinality g(grp, ord)
            ) g
            where g.ord > 1 and (g.step in (0, 1)) is not true
        )
    ) then
        raise exception 'groups are not numbered from 1, in order' using errcode = 'invalid_parameter_value';
    end if;
    if single and (facts or t_grp is not null or o_key is not null) then
        grps := array(select generate_series(1, n));
    end if;
    if t_grp is not null and exists (
        select from unnest(t_grp) t(grp)
        where not exists (select from unnest(grps, streams) e(grp, stream)
                          where e.grp = t.grp and e.stream is not null)
    ) then
        raise exception 'only a fact touches keys' using errcode = 'invalid_parameter_value';
    end if;

    perform pg_advisory_xact_lock(7233001, 1);
    -- A later statement: it sees everything that was committed before the lock was ours.
    select (select coalesce(max(e.position) + 1, 0) from log.event e),
           (select coalesce(max(g.position), -1) from log.guard g where g.key = any(k_key))
    into head, newest;
    moment := clock_timestamp();

    -- The common case, observations none of which is refused, without deciding group by group.
    if not facts and o_key is null then
        oldest := g_at[1];
        ending := g_until[1];
        if n > 1 then
            select min(g.at), min(g.until) into oldest, ending from unnest(g_at, g_until) g(at, until);
        end if;
        if newest <= oldest and coalesce(ending > moment, true) then
            if single then
                at := array(select generate_series(head, head + n - 1));
            else
                at := array(select head + min(e.ord) - 1 from unnest(grps) with ordinality e(grp, ord)
                            group by e.grp order by e.grp);
            end if;
            insert into log.event (position, id, type, body)
            select head + e.ord - 1, e.id, e.type, e.body
            from unnest(ids, types, bodies) with ordinality e(id, type, body, ord);
            insert into log.event_id (id, position)
            select e.id, head + e.ord - 1 from unnest(ids) with ordinality e(id, ord);
            status := array_fill(0, array[n]);
            return;
        end if;
    end if;

    grps := coalesce(grps, array(select generate_series(1, n)));
    status := array_fill(0, array[n]);
    at := array_fill(null::bigint, array[n]);
    while first <= n loop
        -- [first, last] is the longest run in which no group depends on an earlier one of the run.
        last := n;
        if n > 1 and (facts or o_key is not null) then
            select coalesce(min(later) - 1, n) into last from (
                select min(k.grp) as later from unnest(t_grp, t_key) t(grp, key)
                join unnest(k_grp, k_key) k(grp, key) on k.key = t.key and k.grp > t.grp
                where t.grp >= first
                union all
                select min(b.grp) from unnest(grps, streams) a(grp, stream)
                join unnest(grps, streams) b(grp, stream) on b.stream = a.stream and b.grp > a.grp
                where a.grp >= first
                union all
                select min(b.grp) from unnest(o_grp, o_key) a(grp, key)
                join unnest(o_grp, o_key) b(grp, key) on b.key = a.key and b.grp > a.grp
                where a.grp >= first
            ) d;
        end if;

        for row in
            select g.grp, 2 as code, null::bigint as pos
            from unnest(g_until) with ordinality g(until, grp)
            where g.grp between first and last and g.until <= moment
            union all
            select k.grp, 1, max(k.touched)
            from (select x.grp, (select g.position from log.guard g where g.key = x.key) as touched
                  from unnest(k_grp, k_key) x(grp, key) where x.grp between first and last) k
            where k.touched > g_at[k.grp]
            group by k.grp
            union all
            select o.grp, 4, o.held
            from (select x.grp, (select p.position from log.once p where p.key = x.key and p.role = session_user) as held
                  from unnest(o_grp, o_key) x(grp, key) where x.grp between first and last) o
            where o.held is not null
        loop
            if status[row.grp] in (0, 2) or row.code = 4 then
                status[row.grp] := row.code;
                at[row.grp] := row.pos;
            end if;
        end loop;
        if facts then
            for row in
                select e.grp, (select max(f.position) from log.fact f where f.stream = e.stream) as pos
                from unnest(grps, streams, versions) with ordinality e(grp, stream, version, ord)
                where e.grp between first and last and e.stream is not null
                  and (exists (select from log.fact f where f.stream = e.stream and f.version >= e.version)
                       or (e.version > 1
                           and not exists (select from log.fact f
                                           where f.stream = e.stream and f.version = e.version - 1)
                           and not exists (select from unnest(grps, streams, versions)
                                               with ordinality p(grp, stream, version, ord)
                                           where p.grp = e.grp and p.stream = e.stream
                                             and p.version = e.version - 1 and p.ord < e.ord))
                       or e.version < 1)
            loop
                if status[row.grp] = 0 then
                    status[row.grp] := 3;
                    at[row.grp] := row.pos;
                end if;
            end loop;
        end if;

        with numbered as materialized (
            select head + row_number() over (order by e.ord) - 1 as position,
                   e.id, e.type, e.body, e.grp, e.stream, e.version
            from unnest(ids, types, bodies, grps, streams, versions)
                 with ordinality e(id, type, body, grp, stream, version, ord)
            where e.grp between first and last and status[e.grp] = 0
        ), stored as (
            insert into log.event (position, id, type, body)
            select position, id, type, body from numbered order by position
        ), known as (
            insert into log.event_id (id, position) select id, position from numbered
        ), streamed as (
            insert into log.fact (stream, version, position)
            select stream, version, position from numbered where stream is not null
        )
        select array_agg(coalesce(s.position, at[g.grp]) order by g.grp), count(*) filter (where s.position is not null)
        into row
        from generate_series(first, last) g(grp)
        left join (
            select grp, coalesce(max(position) filter (where stream is not null), min(position)) as position
            from numbered group by grp
        ) s using (grp);
        at := at[1:first - 1] || row.array_agg || at[last + 1:n];
        select count(*) into added from unnest(grps) x(grp) where x.grp between first and last and status[x.grp] = 0;

        if t_key is not null then
            insert into log.guard as g (key, position)
            select t.key, max(at[t.grp]) from unnest(t_grp, t_key) t(grp, key)
            where t.grp between first and last and status[t.grp] = 0
            group by t.key order by t.key
            on conflict (key) do update set position = excluded.position;
        end if;
        if o_key is not null then
            insert into log.once (key, role, position)
            select o.key, session_user, at[o.grp] from unnest(o_grp, o_key) o(grp, key)
            where o.grp between first and last and status[o.grp] = 0;
        end if;
        head := head + added;
        first := last + 1;
    end loop;
    if facts then
        perform pg_notify('casewarden_log', head::text);
    end if;
end $$;
