-- What could not be had of the series of an exchange and symbol, the latest attempt last; no exchange or symbol means
-- all of them.
select series_id, cause, lower(during), upper(during)
from unavailable
join series s using (series_id)
join instrument i using (instrument_id)
where (%(exchange)s::text is null or i.exchange = %(exchange)s)
    and (%(symbol)s::text is null or i.symbol = %(symbol)s)
order by series_id, last_at, lower(during)
