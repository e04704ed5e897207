-- Time-partitioned tables: which ones there are, how long their partitions are, how far ahead they are made, and how
-- long their rows stay. Native RANGE partitions, because hosted PostgreSQL no longer offers an extension for it.

CREATE TABLE partition_rules (
    table_name  text PRIMARY KEY,
    time_column text NOT NULL,
    period      text NOT NULL CHECK (period IN ('day', 'month', 'year')),
    ahead       integer NOT NULL CHECK (ahead > 0)
);

COMMENT ON TABLE partition_rules IS 'Tables split by time; ahead counts the future partitions that always exist.';

-- Takes away what a hosting service may grant by default. A partition is a table of its own to an API: without row-level
-- security of its own it would be readable around its parent.
CREATE FUNCTION seal(target text) RETURNS void
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
DECLARE
    stranger text;
BEGIN
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('REVOKE ALL ON TABLE %I FROM PUBLIC', target);
    FOR stranger IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
        EXECUTE format('REVOKE ALL ON TABLE %I FROM %I', target, stranger);
    END LOOP;
END
$$;

-- Puts the rules of the roles on one table: readers read, the service writes, nobody else anything.
CREATE FUNCTION protect(target text) RETURNS void
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
BEGIN
    PERFORM seal(target);
    EXECUTE format('GRANT SELECT ON TABLE %I TO kimp_reader', target);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE %I TO service_role', target);
    EXECUTE format('CREATE POLICY readers_read ON %I FOR SELECT TO kimp_reader USING (true)', target);
    EXECUTE format('CREATE POLICY service_writes ON %I FOR ALL TO service_role USING (true) WITH CHECK (true)', target);
END
$$;

-- Makes every partition between two moments that is not there yet; how many it made.
CREATE FUNCTION ensure_partitions(target text, from_at timestamptz, to_at timestamptz) RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
    rule  partition_rules;
    lower timestamptz;
    upper timestamptz;
    child text;
    made  integer := 0;
BEGIN
    SELECT * INTO STRICT rule FROM partition_rules WHERE table_name = target;
    lower := date_trunc(rule.period, from_at);
    WHILE lower <= to_at LOOP
        upper := lower + ('1 ' || rule.period)::interval;
        child := target || to_char(
            lower, CASE rule.period WHEN 'day' THEN '_YYYY_MM_DD' WHEN 'month' THEN '_YYYY_MM' ELSE '_YYYY' END
        );
        IF to_regclass(quote_ident(child)) IS NULL THEN
            -- Two collectors may need the same partition at once. Having waited for the other, we may still see the
            -- catalogue as it was before; then creating it says that it is there.
            PERFORM pg_advisory_xact_lock(hashtext('kimp partitions'));
            BEGIN
                -- Attaching does not wait for those who read the table; creating the partition in place would.
                EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', child, target);
                EXECUTE format(
                    'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', target, child, lower, upper
                );
                PERFORM seal(child);
                made := made + 1;
            EXCEPTION WHEN duplicate_table THEN
                NULL;
            END;
        END IF;
        lower := upper;
    END LOOP;
    RETURN made;
END
$$;

-- The partitions of now and of the time ahead, for every table; to be called once a day, and at every start.
CREATE FUNCTION ensure_partitions_ahead(from_at timestamptz DEFAULT now()) RETURNS integer
LANGUAGE sql
SECURITY DEFINER
SET search_path = public, pg_temp
SET timezone = 'UTC'
AS $$
    SELECT coalesce(sum(ensure_partitions(table_name, from_at, from_at + ahead * ('1 ' || period)::interval)), 0)::integer
    FROM partition_rules
$$;

-- The partitions of one table with the time they hold: [from_at, to_at).
CREATE FUNCTION partitions_of(target text)
RETURNS TABLE (partition_name text, from_at timestamptz, to_at timestamptz)
LANGUAGE sql
STABLE
SET search_path = public, pg_temp
SET timezone = 'UTC'
AS $$
    SELECT child.relname::text,
           substring(pg_get_expr(child.relpartbound, child.oid) FROM 'FROM \(''([^'']+)''\)')::timestamptz,
           substring(pg_get_expr(child.relpartbound, child.oid) FROM 'TO \(''([^'']+)''\)')::timestamptz
    FROM pg_inherits
    JOIN pg_class child ON child.oid = pg_inherits.inhrelid
    WHERE pg_inherits.inhparent = to_regclass(quote_ident(target))
    ORDER BY 2
$$;

-- Functions are open to everybody by default, and an API would offer them to anon.
CREATE FUNCTION seal_functions(targets text[]) RETURNS void
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
DECLARE
    found    regprocedure;
    stranger text;
BEGIN
    FOR found IN SELECT oid FROM pg_proc WHERE proname = ANY (targets) AND pronamespace = 'public'::regnamespace LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', found);
        FOR stranger IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
            EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %I', found, stranger);
        END LOOP;
    END LOOP;
END
$$;

SELECT seal_functions(ARRAY[
    'seal', 'seal_functions', 'protect', 'ensure_partitions', 'ensure_partitions_ahead', 'partitions_of'
]);
GRANT EXECUTE ON FUNCTION ensure_partitions(text, timestamptz, timestamptz) TO service_role;
GRANT EXECUTE ON FUNCTION ensure_partitions_ahead(timestamptz) TO service_role;
GRANT EXECUTE ON FUNCTION partitions_of(text) TO service_role, kimp_reader;

SELECT seal('schema_migrations');
SELECT seal('partition_rules');
