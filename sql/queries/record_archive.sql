-- Note that a file holds a series' rows of a range, unless they have changed since that was begun: then no row is
-- there to be changed.
update archive
set path = %(path)s,
    rows = %(rows)s,
    sha256 = %(sha256)s,
    verified_at = now()
where series_id = %(series_id)s and during = %(during)s
