-- Market data as it was observed. Times are UTC; what a venue published is never changed, only completed.
--
-- Exactness: rates, trades and everything that may enter a calculation of money is numeric. Candles and books are double
-- precision, eight bytes that carry every decimal of up to 15 digits there and back unchanged; no venue quotes a price
-- with more. A year of minutes reads four times as fast that way. Sums over a whole candle can be longer, hence numeric.
--
-- A check against infinity also keeps out NaN, which PostgreSQL sorts above everything.
--
-- The key of each table is what makes an observation the same one, so that collecting it twice adds nothing.

CREATE TABLE instruments (
    id               text PRIMARY KEY,
    venue            text NOT NULL,
    symbol           text NOT NULL,
    base             text NOT NULL,
    quote            text NOT NULL,
    kind             text NOT NULL,
    fee_rate         numeric NOT NULL,
    lot              numeric NOT NULL,
    minimum_quantity numeric NOT NULL,
    minimum_notional numeric NOT NULL,
    tick_bands       jsonb NOT NULL,
    updated_at       timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE instruments IS 'What is traded where, and the venue''s rules; id is venue and symbol: upbit:KRW-BTC';

-- Rows do not refer to instruments by a foreign key: an observation is kept even when its instrument is news to us.
CREATE TABLE candles (
    instrument_id text NOT NULL,
    interval_s    integer NOT NULL CHECK (interval_s > 0),
    opened_at     timestamptz NOT NULL,
    open          double precision NOT NULL CHECK (open > 0),
    high          double precision NOT NULL,
    low           double precision NOT NULL,
    close         double precision NOT NULL CHECK (close > 0),
    volume        double precision NOT NULL CHECK (volume >= 0 AND volume < 'Infinity'),
    turnover      numeric NOT NULL CHECK (turnover >= 0 AND turnover < 'Infinity'),
    received_at   timestamptz NOT NULL,
    PRIMARY KEY (instrument_id, interval_s, opened_at),
    CHECK (low > 0 AND low <= open AND low <= close AND open <= high AND close <= high AND high < 'Infinity')
) PARTITION BY RANGE (opened_at);
CREATE INDEX candles_opened_at ON candles USING brin (opened_at);
COMMENT ON TABLE candles IS 'Closed bars by their open time; a minute without a trade has no row';

CREATE TABLE orderbook_snapshots (
    instrument_id text NOT NULL,
    venue_at      timestamptz NOT NULL,
    received_at   timestamptz NOT NULL,
    bid_prices    double precision[] NOT NULL,
    bid_sizes     double precision[] NOT NULL,
    ask_prices    double precision[] NOT NULL,
    ask_sizes     double precision[] NOT NULL,
    PRIMARY KEY (instrument_id, venue_at),
    CHECK (cardinality(bid_prices) = cardinality(bid_sizes) AND cardinality(ask_prices) = cardinality(ask_sizes))
) PARTITION BY RANGE (venue_at);
CREATE INDEX orderbook_snapshots_venue_at ON orderbook_snapshots USING brin (venue_at);
COMMENT ON TABLE orderbook_snapshots IS 'Books, best level first; kept 90 days, then in Parquet';

CREATE TABLE trades (
    instrument_id text NOT NULL,
    trade_id      bigint NOT NULL,
    venue_at      timestamptz NOT NULL,
    received_at   timestamptz NOT NULL,
    side          text NOT NULL CHECK (side IN ('buy', 'sell')),
    price         numeric NOT NULL CHECK (price > 0 AND price < 'Infinity'),
    quantity      numeric NOT NULL CHECK (quantity > 0 AND quantity < 'Infinity'),
    PRIMARY KEY (instrument_id, trade_id, venue_at)
) PARTITION BY RANGE (venue_at);
CREATE INDEX trades_venue_at ON trades USING brin (venue_at);
COMMENT ON TABLE trades IS 'Other people''s trades, side of the taker; late ones too; kept 30 days, then in Parquet';

CREATE TABLE funding_rates (
    instrument_id text NOT NULL,
    settles_at    timestamptz NOT NULL,
    at            timestamptz NOT NULL,
    rate          numeric NOT NULL CHECK (rate > '-Infinity' AND rate < 'Infinity'),
    PRIMARY KEY (instrument_id, settles_at, at)
) PARTITION BY RANGE (at);
CREATE INDEX funding_rates_at ON funding_rates USING brin (at);
COMMENT ON TABLE funding_rates IS 'Rates as known at a moment; the settled one is the last at or before settles_at';

CREATE TABLE fx_rates (
    base        text NOT NULL,
    source      text NOT NULL,
    at          timestamptz NOT NULL,
    value       numeric NOT NULL CHECK (value > 0 AND value < 'Infinity'),
    valid_until timestamptz NOT NULL,
    PRIMARY KEY (base, source, at)
) PARTITION BY RANGE (at);
CREATE INDEX fx_rates_at ON fx_rates USING brin (at);
COMMENT ON TABLE fx_rates IS 'KRW per one base (USD, USDT), known at a moment and usable until valid_until';

CREATE TABLE kimp_rates (
    symbol                     text NOT NULL,
    at                         timestamptz NOT NULL,
    fx_mid                     numeric,
    fx_touch_buy_korea         numeric,
    fx_touch_sell_korea        numeric,
    fx_executable_buy_korea    numeric,
    fx_executable_sell_korea   numeric,
    usdt_mid                   numeric,
    usdt_touch_buy_korea       numeric,
    usdt_touch_sell_korea      numeric,
    usdt_executable_buy_korea  numeric,
    usdt_executable_sell_korea numeric,
    PRIMARY KEY (symbol, at),
    CHECK (num_nulls(fx_mid, fx_touch_buy_korea, fx_touch_sell_korea) IN (0, 3)),
    CHECK (num_nulls(usdt_mid, usdt_touch_buy_korea, usdt_touch_sell_korea) IN (0, 3))
) PARTITION BY RANGE (at);
CREATE INDEX kimp_rates_at ON kimp_rates USING brin (at);
COMMENT ON TABLE kimp_rates IS 'Premiums as fractions on both bases; null while a rate was missing or a book too thin';

CREATE TABLE gaps (
    series      text NOT NULL,
    from_at     timestamptz NOT NULL,
    to_at       timestamptz NOT NULL,
    reason      text NOT NULL CHECK (reason IN ('no_trade', 'halted', 'not_collected')),
    noticed_at  timestamptz NOT NULL,
    repaired_at timestamptz,
    PRIMARY KEY (series, from_at),
    CHECK (from_at < to_at)
);
CREATE INDEX gaps_open ON gaps (series) WHERE repaired_at IS NULL AND reason = 'not_collected';
COMMENT ON TABLE gaps IS 'Every stretch [from_at, to_at) without data, and why';

-- How far each spool file has been written into the database; see the writer.
CREATE TABLE spool_progress (
    spool_id   text PRIMARY KEY,
    position   bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

INSERT INTO partition_rules (table_name, time_column, period, ahead) VALUES
    ('candles', 'opened_at', 'month', 2),
    ('orderbook_snapshots', 'venue_at', 'day', 3),
    ('trades', 'venue_at', 'day', 3),
    ('funding_rates', 'at', 'year', 1),
    ('fx_rates', 'at', 'month', 2),
    ('kimp_rates', 'at', 'month', 2);

SELECT protect(name) FROM unnest(ARRAY[
    'instruments', 'candles', 'orderbook_snapshots', 'trades', 'funding_rates', 'fx_rates', 'kimp_rates', 'gaps'
]) AS name;
SELECT seal('spool_progress');
GRANT SELECT, INSERT, UPDATE, DELETE ON spool_progress TO service_role;
CREATE POLICY service_writes ON spool_progress FOR ALL TO service_role USING (true) WITH CHECK (true);
SELECT ensure_partitions_ahead();
