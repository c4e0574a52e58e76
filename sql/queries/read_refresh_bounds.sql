-- One row: the server's time, and the time before which retention has dropped a dataset's rows.
select now(), (select dropped_before from retention where dataset = %(dataset)s and timeframe_s = %(timeframe_s)s)
