-- A row is a symbol known of the exchange, or of any if that is null.
select distinct symbol
from instrument
where %(exchange)s::text is null or exchange = %(exchange)s
order by symbol
