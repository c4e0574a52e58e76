-- Note the time before which the exchange has nothing of a series.
update series
set begins_at = %(begins_at)s
where series_id = %(series_id)s
