-- A row is a range whose rows still came from elsewhere after the exchange gave its own for some of it.
with cut as (
    delete from substitute
    where series_id = %(series_id)s
        and during && any(select unnest(%(ranges)s::tstzmultirange))
    returning during, source, recorded_at
)

insert into substitute (series_id, during, source, recorded_at)
select %(series_id)s, rest, source, recorded_at
from cut
cross join unnest(tstzmultirange(during) - %(ranges)s::tstzmultirange) as rest
