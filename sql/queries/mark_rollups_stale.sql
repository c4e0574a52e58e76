-- Note that 1m candles of a range were written since the rollups over it were refreshed.
insert into stale_rollup (instrument_id, during)
values (%(instrument_id)s, %(during)s)
