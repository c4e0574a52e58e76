-- Note that a run sets out to bring a series up to the present.
update series
set asked_before = asked_at,
    asked_at = now()
where series_id = %(series_id)s
