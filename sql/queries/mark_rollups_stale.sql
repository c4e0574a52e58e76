-- Note that rows of a dataset were written in a range since the rollups over it were refreshed.
insert into stale_rollup (instrument_id, dataset, during)
values (%(instrument_id)s, %(dataset)s, %(during)s)
