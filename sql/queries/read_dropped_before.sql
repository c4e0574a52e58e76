-- No row, or the time before which retention has dropped a series.
select r.dropped_before
from series s
join retention r using (dataset, timeframe_s)
where s.series_id = %(series_id)s
