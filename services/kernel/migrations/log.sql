-- The append-only log (design: one function alone writes; nobody updates, deletes or truncates).

-- Every function pins its search_path and names pg_temp last: left out, it would come first, and a
-- role could put a type or table of its own before ours.
create schema log;
revoke all on schema log from public;

-- streams: what the names of the streams it may be a fact of begin with, up to the first colon; so a
-- role writes no stream of another's. Guard keys arrive as digests and are not checked: a role can
-- touch any key, which makes others decide anew and changes nothing that is true.
create table log.event_type (
    name text primary key,
    role name not null,
    fact boolean not null,
    streams text[] not null default '{}',
    check (fact or streams = '{}')
);

-- position: contiguous from 0, the only order, and the leaf index of the Merkle tree.
-- body: the canonical bytes and the only truth; id and type are copies of its header line.
create table log.event (
    position bigint not null,
    id uuid not null,
    type text not null,
    body bytea not null,
    primary key (position)
) partition by range (position);
alter table log.event alter column body set storage external;

-- Uniqueness that a partitioned table cannot hold.
create table log.event_id (id uuid primary key, position bigint not null);
create table log.fact (
    stream text not null,
    version int not null,
    position bigint not null,
    primary key (stream, version)
);
create unique index fact_position on log.fact (position);
create table log.once (key bytea primary key, position bigint not null);

-- The last position that touched each guard key.
create table log.guard (key bigint primary key, position bigint not null) with (fillfactor = 60);

create function log.refuse() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    raise exception 'the log is append-only: % refused', tg_op using errcode = 'insufficient_privilege';
end $$;

create trigger append_only before update or delete on log.event
    for each row execute function log.refuse();
create trigger append_only_truncate before truncate on log.event
    for each statement execute function log.refuse();
create trigger append_only before update or delete on log.event_id
    for each row execute function log.refuse();
create trigger append_only_truncate before truncate on log.event_id
    for each statement execute function log.refuse();
create trigger append_only before update or delete on log.fact
    for each row execute function log.refuse();
create trigger append_only_truncate before truncate on log.fact
    for each statement execute function log.refuse();
create trigger append_only before update or delete on log.once
    for each row execute function log.refuse();
create trigger append_only_truncate before truncate on log.once
    for each statement execute function log.refuse();

create trigger append_only before delete on log.guard
    for each row execute function log.refuse();
create trigger append_only_truncate before truncate on log.guard
    for each statement execute function log.refuse();

-- Partitions are made ahead of the head; called at start and by a timer, never inside an append.
-- Roles may ask for a few of the one size; the owner for any. Row triggers are inherited by a
-- partition, statement triggers are not.
create function log.make_partitions(ahead int, size bigint) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    head bigint;
    lower bigint;
    made int := 0;
begin
    if size is distinct from 5000000 or ahead is null or ahead not between 0 and 8 then
        if session_user <> current_user then
            raise exception 'partitions are 5000000 events each, at most 8 ahead'
                using errcode = 'insufficient_privilege';
        end if;
    end if;
    perform pg_advisory_xact_lock(7233001, 2);
    select coalesce(max(position) + 1, 0) into head from log.event;
    for i in 0 .. ahead loop
        lower := (head / size + i) * size;
        if to_regclass(format('log.event_%s', lower)) is null then
            execute format(
                'create table log.event_%s partition of log.event for values from (%s) to (%s)',
                lower, lower, lower + size);
            execute format('alter table log.event_%s alter column body set storage external', lower);
            execute format(
                'create trigger append_only_truncate before truncate on log.event_%s'
                ' for each statement execute function log.refuse()', lower);
            made := made + 1;
        end if;
    end loop;
    return made;
end $$;

-- Appends groups of events. A group is everything one request says: it lands whole or not at all.
--
-- Per event (parallel arrays): ids, types, bodies, grps (1-based, nondecreasing), and for facts
-- streams and versions (null for observations).
-- Per group: g_at (position the facts were read at) and g_until (how long the decision holds).
-- Guards (k_), touches (t_) and once-keys (o_) are flattened pairs of group and key.
--
-- Answers one status per group -- 0 ok, 1 stale, 2 expired, 3 conflict, 4 duplicate -- with, for ok,
-- the position of its last fact (or of its first event, where it has no fact); for stale, the newest position that touched one of its guards;
-- for duplicate, the position of the event that already holds the once-key; for conflict, the
-- position of the newest event of the stream.
--
-- A group that refuses never touches its neighbours. What raises is a malformed call: an event type
-- that is not registered to the calling role, a stream that is not of its type, a body whose header differs from the columns, or a
-- touch of a group without a fact (whoever reads facts would wait for it for ever).
create function log.append(
    ids uuid[], types text[], bodies bytea[], grps int[], streams text[], versions int[],
    g_at bigint[], g_until timestamptz[],
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
    facts boolean;
    first int := 1;
    last int;
    head bigint;
    added bigint;
    moment timestamptz;
    row record;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'append needs read committed';
    end if;
    if exists (
        select from (select distinct e.type, split_part(e.stream, ':', 1) as kind
                     from unnest(types, streams) e(type, stream)) e
        left join log.event_type t on t.name = e.type and t.role = session_user
        where t.name is null or t.fact <> (e.kind is not null)
           or (t.fact and e.kind <> all (t.streams))
    ) or exists (
        select from unnest(ids, types, bodies, streams, versions) as e(id, type, body, stream, version)
        cross join lateral (
            select convert_to(
                e.id::text || ' ' || e.type || ' ' || coalesce(e.stream, '-') || ' '
                || coalesce(e.version::text, '-') || chr(10), 'UTF8') as line
        ) h
        where (e.stream is null) <> (e.version is null)
           or octet_length(e.body) > 65535
           or (substring(e.body for octet_length(h.line)) = h.line) is not true
           or e.stream !~ '^[a-z0-9:._-]+$'
    ) then
        raise exception 'event type or stream not registered to %, or body differs from its columns', session_user
            using errcode = 'insufficient_privilege';
    end if;
    facts := cardinality(array_remove(streams, null)) > 0;
    if cardinality(t_grp) > 0 and exists (
        select from unnest(t_grp) t(grp)
        where not exists (select from unnest(grps, streams) e(grp, stream)
                          where e.grp = t.grp and e.stream is not null)
    ) then
        raise exception 'only a fact touches keys' using errcode = 'invalid_parameter_value';
    end if;

    perform set_config('synchronous_commit', 'on', true), pg_advisory_xact_lock(7233001, 1);
    -- A later statement: it sees everything that was committed before the lock was ours.
    select coalesce(max(e.position) + 1, 0) into head from log.event e;
    moment := clock_timestamp();
    status := array_fill(0, array[n]);
    at := array_fill(null::bigint, array[n]);

    -- The common case, single observations none of which is refused, without deciding one by one.
    if not facts and cardinality(o_key) = 0
       and cardinality(grps) = n and grps[1] = 1 and grps[n] = n
       and (select coalesce(max(g.position), -1) from log.guard g where g.key = any(k_key))
           <= (select min(a) from unnest(g_at) a)
       and coalesce((select min(u) from unnest(g_until) u) > moment, true)
    then
        insert into log.event (position, id, type, body)
        select head + e.ord - 1, e.id, e.type, e.body
        from unnest(ids, types, bodies) with ordinality e(id, type, body, ord);
        insert into log.event_id (id, position)
        select e.id, head + e.ord - 1 from unnest(ids) with ordinality e(id, ord);
        at := array(select generate_series(head, head + n - 1));
        return;
    end if;

    while first <= n loop
        -- [first, last] is the longest run in which no group depends on an earlier one of the run.
        last := n;
        if n > 1 and (cardinality(t_key) > 0 or cardinality(o_key) > 0 or facts) then
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
            from (select x.grp, (select p.position from log.once p where p.key = x.key) as held
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
                  and (exists (select from log.fact f where f.stream = e.stream and f.version = e.version)
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

        if cardinality(t_key) > 0 then
            insert into log.guard as g (key, position)
            select t.key, max(at[t.grp]) from unnest(t_grp, t_key) t(grp, key)
            where t.grp between first and last and status[t.grp] = 0
            group by t.key order by t.key
            on conflict (key) do update set position = excluded.position;
        end if;
        if cardinality(o_key) > 0 then
            insert into log.once (key, position)
            select o.key, at[o.grp] from unnest(o_grp, o_key) o(grp, key)
            where o.grp between first and last and status[o.grp] = 0;
        end if;
        head := head + added;
        first := last + 1;
    end loop;
    if facts then
        perform pg_notify('casewarden_log', head::text);
    end if;
end $$;
