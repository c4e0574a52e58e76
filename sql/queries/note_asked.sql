-- Note that a run sets out to bring a series up to the present. One that comes long before its time, by hand or to try
-- again, says little of when the next will: the time between two runs shrinks by no more than a tenth a run.
update series
set asked_before = least(asked_at, now() - 0.9 * (asked_at - asked_before)),
    asked_at = now()
where series_id = %(series_id)s
