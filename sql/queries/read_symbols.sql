-- A row is a symbol known of the exchange.
select symbol
from instrument
where exchange = %(exchange)s
order by symbol
