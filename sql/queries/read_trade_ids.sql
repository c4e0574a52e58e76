-- A row is the id of one of the first trades of an instrument between first and last, both left out.
select trade_id, coalesce(id_text, '')
from trade
where instrument_id = %(instrument_id)s
    and time > %(first)s
    and time < %(last)s
order by time
limit 1000
