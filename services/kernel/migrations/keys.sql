-- The key store: a database of its own. Rows are wrapped keys; row security keeps compartments apart.

create schema keys;
create table keys.data_key (
    subject uuid not null,
    compartment text not null,
    epoch int not null,
    wrapped bytea not null,
    primary key (subject, compartment)
);
create table keys.reader (role name not null, compartment text not null, primary key (role, compartment));
insert into keys.reader (role, compartment) values
    ('casewarden_authz', 'staff'), ('casewarden_authz', 'credential'), ('casewarden_authz', 'origin'),
    ('casewarden_cases', 'student'), ('casewarden_cases', 'record'), ('casewarden_cases', 'sensitive'),
    ('casewarden_cases', 'staff'), ('casewarden_cases', 'origin'), ('casewarden_cases', 'search'),
    ('casewarden_audit', 'origin'), ('casewarden_audit', 'review');
alter table keys.data_key enable row level security;
create policy compartments on keys.data_key
    using (exists (select from keys.reader r where r.role = session_user and r.compartment = data_key.compartment))
    with check (exists (select from keys.reader r where r.role = session_user and r.compartment = data_key.compartment));
grant usage on schema keys to casewarden_authz, casewarden_cases, casewarden_audit;
grant select on keys.reader to casewarden_authz, casewarden_cases, casewarden_audit;
grant select, insert on keys.data_key to casewarden_authz, casewarden_cases, casewarden_audit;
