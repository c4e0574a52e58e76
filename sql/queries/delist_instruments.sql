-- A row is a market of the exchange that it no longer lists: kept, and marked as not active.
update instrument
set active = false
where exchange = %(exchange)s and active and symbol <> all(%(symbols)s)
returning symbol
