-- What every role may do in a new database, and none of ours needs: make temporary tables and types,
-- fill it with large objects. For the log's database and for the key store's; may run again.

do $$
begin
    execute format('revoke temporary on database %I from public', current_database());
exception when insufficient_privilege then
    raise warning 'temporary tables stay open to every role: only the database''s owner can close them';
end $$;

-- Functions of the system belong to the superuser: an owner who is none leaves them as they are.
do $$
declare
    large regprocedure;
begin
    for large in
        select oid from pg_proc where pronamespace = 'pg_catalog'::regnamespace
        and (proname ~ '^lo_' or proname in ('loread', 'lowrite'))
    loop
        execute format('grant execute on function %s to %I', large, current_user);
        execute format('revoke execute on function %s from public', large);
    end loop;
exception when insufficient_privilege then
    raise warning 'large objects stay open to every role: only a superuser can close them';
end $$;
