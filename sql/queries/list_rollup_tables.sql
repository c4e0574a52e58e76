-- A row is a rollup and the hypertable in which it keeps its rows.
select view_name, materialization_hypertable_schema, materialization_hypertable_name
from timescaledb_information.continuous_aggregates
where view_schema = current_schema()
