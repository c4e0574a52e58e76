-- A row is the hypertable in which a rollup keeps its rows, in the order in which they are locked.
select materialization_hypertable_schema, materialization_hypertable_name
from timescaledb_information.continuous_aggregates
where view_schema = current_schema()
    and view_name in ('candle_5m', 'candle_15m', 'candle_1h', 'candle_4h', 'candle_1d')
order by 1, 2
