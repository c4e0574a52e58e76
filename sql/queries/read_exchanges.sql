-- A row is an exchange of which instruments are stored.
select distinct exchange
from instrument
order by exchange
