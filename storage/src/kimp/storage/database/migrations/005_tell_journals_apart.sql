-- One database may hold the copies of several journals (paper beside live, a paper journal begun anew): their ids may be
-- the same, so every copied row says which journal it is from.

ALTER TABLE signals
    ADD COLUMN journal text NOT NULL DEFAULT '',
    DROP CONSTRAINT signals_pkey,
    ADD PRIMARY KEY (journal, signal_id, action, decided_at);

ALTER TABLE orders
    ADD COLUMN journal text NOT NULL DEFAULT '',
    DROP CONSTRAINT orders_pkey,
    ADD PRIMARY KEY (journal, client_id);

ALTER TABLE fills
    ADD COLUMN journal text NOT NULL DEFAULT '',
    DROP CONSTRAINT fills_pkey,
    ADD PRIMARY KEY (journal, instrument_id, trade_id);

ALTER TABLE positions
    ADD COLUMN journal text NOT NULL DEFAULT '',
    DROP CONSTRAINT positions_pkey,
    ADD PRIMARY KEY (journal, signal_id);

ALTER TABLE ledger
    ADD COLUMN journal text NOT NULL DEFAULT '',
    DROP CONSTRAINT ledger_pkey,
    ADD PRIMARY KEY (journal, entry_id, line);

COMMENT ON COLUMN mirror_progress.journal IS 'The mode and the journal''s own id, "live:3f…"; the same in every copied row';

CREATE OR REPLACE FUNCTION check_ledger_entry() RETURNS trigger
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
DECLARE
    unbalanced text;
BEGIN
    SELECT asset INTO unbalanced FROM ledger
    WHERE journal = NEW.journal AND entry_id = NEW.entry_id
    GROUP BY asset HAVING sum(amount) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'ledger entry % creates or loses %', NEW.entry_id, unbalanced USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END
$$;
