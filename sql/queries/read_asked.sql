-- One row: from when to when anything of a series was wanted or asked for, before when retention has dropped it, what
-- of a range is covered, and the server's time.
select
    least(lower(c.covered), u.first_at, s.wanted_from),
    greatest(upper(c.covered), u.last_at, s.wanted_until),
    r.dropped_before,
    c.covered * tstzmultirange(%(during)s::tstzrange),
    now()
from series s
join coverage c using (series_id)
cross join lateral (
    select min(lower(during)) as first_at, max(upper(during)) as last_at
    from unavailable
    where series_id = s.series_id
) u
left join retention r on r.dataset = s.dataset and r.timeframe_s = s.timeframe_s
where s.series_id = %(series_id)s
