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
