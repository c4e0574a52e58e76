-- Note the longest id that a text among a series' trades has.
update series
set id_bytes = %(id_bytes)s
where series_id = %(series_id)s and id_bytes < %(id_bytes)s
