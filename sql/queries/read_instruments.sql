-- A row is a market of an exchange, delisted ones included. No exchange means all of them.
select
    instrument_id, exchange, symbol, kind, base, quote, settle, contract_size, amount_unit, trade_unit, tick_size,
    lot_size, price_decimals, amount_decimals, active, from_sandbox, first_seen_at, last_seen_at
from instrument
where %(exchange)s::text is null or exchange = %(exchange)s
order by exchange, symbol
