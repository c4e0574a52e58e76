-- A row is a market that is new to the store, with no more than its symbol, or something that the exchange says
-- otherwise than before of one that is known, which is kept. Decimals of a market already known are left alone: they
-- follow the stored data (see docs/decisions/0002).
with listed as (
    select *
    from json_to_recordset(%(listings)s::json) as l (
        exchange text, symbol text, base text, quote text, settle text, kind text, contract_size float8,
        amount_unit text, trade_unit text, tick_size float8, lot_size float8, price_decimals smallint,
        amount_decimals smallint, active boolean, from_sandbox boolean, raw json
    )
),

-- Locked, so that of two syncs at a time one tells of a change; and joined below, so that it is read before that.
known as (
    select i.*
    from instrument i
    join listed l using (exchange, symbol)
    order by i.exchange, i.symbol
    for no key update of i
),

upserted as (
    insert into instrument (
        exchange, symbol, base, quote, settle, kind, contract_size, amount_unit, trade_unit, tick_size, lot_size,
        price_decimals, amount_decimals, active, from_sandbox, raw
    )
    select
        l.exchange, l.symbol, l.base, l.quote, l.settle, l.kind, l.contract_size, l.amount_unit, l.trade_unit,
        l.tick_size, l.lot_size, l.price_decimals, l.amount_decimals, l.active, l.from_sandbox, l.raw
    from listed l
    left join known k using (exchange, symbol)
    order by l.exchange, l.symbol, k.instrument_id
    on conflict (exchange, symbol) do update
    set base = excluded.base,
        quote = excluded.quote,
        settle = excluded.settle,
        kind = excluded.kind,
        contract_size = excluded.contract_size,
        amount_unit = excluded.amount_unit,
        trade_unit = excluded.trade_unit,
        tick_size = excluded.tick_size,
        lot_size = excluded.lot_size,
        active = excluded.active,
        raw = excluded.raw,
        last_seen_at = now()
    returning symbol, instrument.first_seen_at = instrument.last_seen_at as is_new
),

changed as (
    insert into listing_change (instrument_id, what, before, after)
    select k.instrument_id, c.what, c.before, c.after
    from known k
    join listed l using (exchange, symbol)
    cross join lateral (
        values
            ('active', k.active::text, l.active::text),
            ('tick_size', k.tick_size::text, l.tick_size::text),
            ('lot_size', k.lot_size::text, l.lot_size::text),
            ('contract_size', k.contract_size::text, l.contract_size::text),
            ('amount_unit', k.amount_unit, l.amount_unit),
            ('trade_unit', k.trade_unit, l.trade_unit)
    ) as c (what, before, after)
    -- What was not known before has not changed.
    where c.before is not null and c.before is distinct from c.after
    on conflict (instrument_id, changed_at, what) do update
    set after = excluded.after
    returning *
)

select symbol, null as what, null as before, null as after, now() as changed_at
from upserted
where is_new
union all
select k.symbol, c.what, c.before, c.after, c.changed_at
from changed c
join known k using (instrument_id)
order by symbol, what
