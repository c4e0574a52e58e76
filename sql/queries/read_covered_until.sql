-- One row: where what is covered of a series before a given time ends; null if nothing is.
select upper(covered * tstzmultirange(tstzrange(null, %(before)s)))
from coverage
where series_id = %(series_id)s
