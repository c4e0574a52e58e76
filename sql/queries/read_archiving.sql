-- A row is a dataset whose rows have to be in the archive before retention drops them.
select dataset
from archiving
order by array_position(array['ohlcv', 'trade', 'order_book'], dataset)
