"""Files: candles and trades that others wrote are imported, stored ones are exported."""
