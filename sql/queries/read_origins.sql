-- A row is one of the origins of an exchange's instruments: the sandbox (true) or the exchange itself.
select distinct from_sandbox
from instrument
where exchange = %(exchange)s
