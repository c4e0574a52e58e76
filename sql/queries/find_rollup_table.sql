-- One row: the hypertable in which a rollup keeps its rows.
select materialization_hypertable_schema, materialization_hypertable_name
from timescaledb_information.continuous_aggregates
where view_schema = current_schema() and view_name = %(view)s
