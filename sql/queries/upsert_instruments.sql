-- A row is a market the exchange lists today; says how many are new. Decimals of a market already
-- known are left alone: they follow the stored data (see docs/decisions/0002).
with listed as (
    select *
    from json_to_recordset(%(listings)s::json) as l (
        exchange text, symbol text, base text, quote text, settle text, kind text, contract_size float8,
        amount_unit text, trade_unit text, tick_size float8, price_decimals smallint, amount_decimals smallint,
        active boolean, from_sandbox boolean, raw json
    )
),

upserted as (
    insert into instrument (
        exchange, symbol, base, quote, settle, kind, contract_size, amount_unit, trade_unit, tick_size,
        price_decimals, amount_decimals, active, from_sandbox, raw
    )
    select
        exchange, symbol, base, quote, settle, kind, contract_size, amount_unit, trade_unit, tick_size,
        price_decimals, amount_decimals, active, from_sandbox, raw
    from listed
    order by exchange, symbol
    on conflict (exchange, symbol) do update
    set base = excluded.base,
        quote = excluded.quote,
        settle = excluded.settle,
        kind = excluded.kind,
        contract_size = excluded.contract_size,
        amount_unit = excluded.amount_unit,
        trade_unit = excluded.trade_unit,
        tick_size = excluded.tick_size,
        active = excluded.active,
        raw = excluded.raw,
        last_seen_at = now()
    returning instrument.first_seen_at = instrument.last_seen_at as is_new
)

select count(*) filter (where is_new), count(*)
from upserted
