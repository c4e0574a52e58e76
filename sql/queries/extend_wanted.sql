-- Add a range to what is wanted of a series, but for what lies before the exchange has anything of it.
update series
set wanted_from = least(wanted_from, greatest(lower(%(wanted)s::tstzrange), begins_at)),
    wanted_until = greatest(wanted_until, upper(%(wanted)s::tstzrange))
where series_id = %(series_id)s and coalesce(begins_at < upper(%(wanted)s::tstzrange), true)
