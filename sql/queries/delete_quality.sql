-- Remove what reports found of an instrument's UTC days that overlap a range: it was of rows that are gone.
delete from quality
where series_id in (select series_id from series where instrument_id = %(instrument_id)s)
    and day > %(start)s::timestamptz - interval '1 day'
    and day < %(end)s
