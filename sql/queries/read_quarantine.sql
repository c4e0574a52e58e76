-- One row per rejected row that was kept, the latest first: whose it is, its time if it told
-- one, the checks it failed, the row as it came, how often it was seen and when.
select instrument.exchange, instrument.symbol, series.dataset, series.timeframe_s, quarantine.time,
       quarantine.reasons, quarantine.raw, quarantine.seen, quarantine.first_seen_at, quarantine.last_seen_at
from quarantine
join series using (series_id)
join instrument using (instrument_id)
where (%(exchange)s::text is null or instrument.exchange = %(exchange)s)
  and (%(symbol)s::text is null or instrument.symbol = %(symbol)s)
order by quarantine.last_seen_at desc, quarantine.quarantine_id desc
limit %(at_most)s
