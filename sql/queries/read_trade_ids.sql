-- A row is the id of one of the first trades of an instrument from first to last.
select trade_id, coalesce(id_text, '')
from trade
where instrument_id = %(instrument_id)s
    and time between %(first)s and %(last)s
order by time
limit 1000
