-- Write trades of a batch of which none is stored.
copy trade (instrument_id, time, trade_id, price, amount, side, id_text) from stdin (format binary)
