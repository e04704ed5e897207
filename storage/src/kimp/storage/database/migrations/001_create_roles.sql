-- Who may do what: anon reads nothing, kimp_reader reads, only service_role and the owner write. The names anon and
-- service_role are those of hosted services; a plain PostgreSQL gets them here. Roles belong to the whole server, so
-- another database of it may have made them already, even in this very moment.
--
-- This file may be run again: restoring a backup does, because a backup does not hold roles.

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['anon', 'kimp_reader', 'service_role'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN NOINHERIT', wanted);
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
        EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', wanted);
    END LOOP;
    -- The role that an API in front of the database logs in as, to change into one of ours.
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'authenticator') THEN
        GRANT kimp_reader TO authenticator;
    END IF;
END
$$;
