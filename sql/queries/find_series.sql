-- No row, or the series of an instrument's dataset and timeframe.
select series_id
from series
where instrument_id = %(instrument_id)s and dataset = %(dataset)s and timeframe_s = %(timeframe_s)s
