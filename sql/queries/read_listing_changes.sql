-- A row is something that an exchange said otherwise of a market than before, the latest first. No exchange means all.
select i.exchange, i.symbol, c.what, c.before, c.after, c.changed_at
from listing_change c
join instrument i using (instrument_id)
where (%(exchange)s::text is null or i.exchange = %(exchange)s)
order by c.changed_at desc, i.exchange, i.symbol, c.what
