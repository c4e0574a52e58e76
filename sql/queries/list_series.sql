-- A row is a series of one of those datasets; each other condition that is null holds for all.
select
    s.series_id, s.dataset, s.timeframe_s,
    i.instrument_id, i.exchange, i.symbol, i.base, i.quote, i.settle, i.kind, i.contract_size, i.amount_unit,
    i.trade_unit, i.tick_size, i.lot_size, i.price_decimals, i.amount_decimals, i.active, i.from_sandbox,
    i.first_seen_at, i.last_seen_at
from series s
join instrument i using (instrument_id)
where s.dataset = any(%(datasets)s)
    and (%(exchange)s::text is null or i.exchange = %(exchange)s)
    and (%(symbol)s::text is null or i.symbol = %(symbol)s)
    and (%(timeframe_s)s::integer is null or s.timeframe_s = %(timeframe_s)s)
order by i.exchange, i.symbol, s.dataset desc, s.timeframe_s
