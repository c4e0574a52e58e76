-- A row is the hypertable in which a rollup keeps its rows, and whether that is one of trades, in the order in
-- which they are locked.
select starts_with(view_name, 'trade_'), materialization_hypertable_schema, materialization_hypertable_name
from timescaledb_information.continuous_aggregates
where view_schema = current_schema()
    and view_name in (
        'candle_5m', 'candle_15m', 'candle_1h', 'candle_4h', 'candle_1d', 'trade_candle_1s', 'trade_candle_1m'
    )
order by 2, 3
