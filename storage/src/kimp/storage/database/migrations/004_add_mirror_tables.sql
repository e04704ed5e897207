-- A copy of the trading journal for questions, reports and dashboards. The journal on the trader's own disk stays the
-- truth: nothing here is ever read to decide, and all of it can be written again from there.

CREATE TABLE mirror_progress (
    journal    text PRIMARY KEY,
    sequence   bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE mirror_progress IS 'Up to which record each journal has been copied';

CREATE TABLE signals (
    signal_id  text NOT NULL,
    action     text NOT NULL CHECK (action IN ('enter', 'exit', 'repair')),
    decided_at timestamptz NOT NULL,
    strategy   text NOT NULL,
    symbol     text NOT NULL,
    direction  text NOT NULL,
    krw_rate   numeric NOT NULL,
    reason     text NOT NULL,
    legs       jsonb NOT NULL,
    PRIMARY KEY (signal_id, action, decided_at)
);
COMMENT ON TABLE signals IS 'What was decided, before anything was sent; krw_rate is KRW per USDT';

CREATE TABLE orders (
    client_id      text PRIMARY KEY,
    instrument_id  text NOT NULL,
    slot           text NOT NULL,
    signal_id      text NOT NULL,
    purpose        text NOT NULL,
    side           text NOT NULL CHECK (side IN ('buy', 'sell')),
    quantity       numeric NOT NULL,
    limit_price    numeric NOT NULL,
    time_in_force  text NOT NULL,
    reduce_only    boolean NOT NULL,
    reference      numeric NOT NULL,
    intended_at    timestamptz NOT NULL,
    outcome        text CHECK (outcome IN ('accepted', 'rejected', 'unknown')),
    outcome_at     timestamptz,
    outcome_reason text,
    venue_order_id text,
    executed       numeric,
    closed_at      timestamptz,
    lost_at        timestamptz
);
CREATE INDEX orders_intended_at ON orders (intended_at);
CREATE INDEX orders_signal ON orders (signal_id);

CREATE TABLE fills (
    instrument_id text NOT NULL,
    trade_id      text NOT NULL,
    client_id     text NOT NULL,
    slot          text NOT NULL,
    signal_id     text NOT NULL,
    purpose       text NOT NULL,
    side          text NOT NULL CHECK (side IN ('buy', 'sell')),
    quantity      numeric NOT NULL CHECK (quantity > 0),
    price         numeric NOT NULL CHECK (price > 0),
    fee           numeric NOT NULL,
    fee_asset     text NOT NULL,
    reference     numeric NOT NULL,
    krw_rate      numeric NOT NULL,
    at            timestamptz NOT NULL,
    PRIMARY KEY (instrument_id, trade_id)
);
CREATE INDEX fills_at ON fills (at);
CREATE INDEX fills_signal ON fills (signal_id);
COMMENT ON TABLE fills IS 'Our trades; krw_rate is KRW per quote asset when booked, reference the price decided on';

CREATE TABLE positions (
    signal_id   text PRIMARY KEY,
    slot        text NOT NULL,
    strategy    text NOT NULL,
    symbol      text NOT NULL,
    direction   text NOT NULL,
    phase       text NOT NULL,
    legs        jsonb NOT NULL,
    funding_krw numeric NOT NULL DEFAULT 0,
    opened_at   timestamptz NOT NULL,
    closed_at   timestamptz,
    updated_at  timestamptz NOT NULL
);
CREATE INDEX positions_open ON positions (slot) WHERE closed_at IS NULL;

CREATE TABLE ledger (
    entry_id text NOT NULL,
    line     smallint NOT NULL,
    kind     text NOT NULL CHECK (kind IN ('fill', 'funding', 'transfer')),
    purpose  text,
    at       timestamptz NOT NULL,
    account  text NOT NULL,
    asset    text NOT NULL,
    amount   numeric NOT NULL,
    PRIMARY KEY (entry_id, line)
);
CREATE INDEX ledger_at ON ledger (at);
CREATE INDEX ledger_account ON ledger (account, asset);
COMMENT ON TABLE ledger IS 'Double entry: the lines of an entry sum to zero in every asset';

CREATE FUNCTION check_ledger_entry() RETURNS trigger
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
DECLARE
    unbalanced text;
BEGIN
    SELECT asset INTO unbalanced FROM ledger WHERE entry_id = NEW.entry_id GROUP BY asset HAVING sum(amount) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'ledger entry % creates or loses %', NEW.entry_id, unbalanced USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END
$$;
-- Looked at when the transaction ends, because the lines of an entry arrive one after the other.
CREATE CONSTRAINT TRIGGER ledger_balances AFTER INSERT OR UPDATE ON ledger
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_ledger_entry();

CREATE TABLE audit (
    id       bigint PRIMARY KEY,
    at       timestamptz NOT NULL,
    actor    text NOT NULL,
    action   text NOT NULL,
    detail   jsonb NOT NULL DEFAULT '{}',
    previous bytea NOT NULL,
    hash     bytea NOT NULL
);
COMMENT ON TABLE audit IS 'Who did what. Append-only; each row carries the hash of the one before, so a change shows';

CREATE FUNCTION audit_hash(id bigint, at timestamptz, actor text, action text, detail jsonb, previous bytea)
RETURNS bytea
LANGUAGE sql
IMMUTABLE
AS $$
    -- Lengths before texts, so that no two different rows read the same; times as microseconds, free of any time zone.
    SELECT sha256(convert_to(
        concat_ws('|', id, (extract(epoch FROM at) * 1000000)::bigint, length(actor), actor, length(action), action,
                  detail::text, encode(previous, 'hex')),
        'UTF8'))
$$;

CREATE FUNCTION chain_audit() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    last audit;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('kimp audit'));  -- one row after the other, or two would follow the same one
    SELECT * INTO last FROM audit ORDER BY audit.id DESC LIMIT 1;
    NEW.id := coalesce(last.id, 0) + 1;
    NEW.previous := coalesce(last.hash, '\x'::bytea);
    NEW.hash := audit_hash(NEW.id, NEW.at, NEW.actor, NEW.action, NEW.detail, NEW.previous);
    RETURN NEW;
END
$$;
CREATE TRIGGER audit_chains BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION chain_audit();

CREATE FUNCTION refuse_audit_change() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

-- The first row that does not follow from the one before it, or null when the whole log is as it was written.
CREATE FUNCTION first_broken_audit() RETURNS bigint
LANGUAGE sql
STABLE
SET search_path = public, pg_temp
AS $$
    SELECT min(id) FROM (
        SELECT id, hash, audit_hash(id, at, actor, action, detail, previous) AS right_hash, previous,
               lag(hash, 1, '\x'::bytea) OVER (ORDER BY id) AS hash_before, row_number() OVER (ORDER BY id) AS place
        FROM audit
    ) AS chained
    WHERE hash <> right_hash OR previous <> hash_before OR id <> place
$$;

SELECT seal_functions(ARRAY[
    'check_ledger_entry', 'chain_audit', 'refuse_audit_change', 'first_broken_audit', 'audit_hash'
]);

SELECT protect(name) FROM unnest(ARRAY[
    'mirror_progress', 'signals', 'orders', 'fills', 'positions', 'ledger', 'audit'
]) AS name;
REVOKE UPDATE, DELETE ON audit FROM service_role;
GRANT EXECUTE ON FUNCTION first_broken_audit() TO service_role, kimp_reader;
GRANT EXECUTE ON FUNCTION audit_hash(bigint, timestamptz, text, text, jsonb, bytea) TO service_role, kimp_reader;
