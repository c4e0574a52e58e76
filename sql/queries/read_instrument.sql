-- One market of one exchange.
select
    instrument_id, exchange, symbol, base, quote, settle, kind, contract_size, amount_unit, trade_unit, tick_size,
    lot_size, price_decimals, amount_decimals, active, from_sandbox, first_seen_at, last_seen_at
from instrument
where exchange = %(exchange)s and symbol = %(symbol)s
