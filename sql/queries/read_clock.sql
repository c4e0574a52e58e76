-- One row: the server's time.
select clock_timestamp()
