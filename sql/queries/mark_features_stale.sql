-- Note that rows of a dataset were written in a range since the features over it were computed.
insert into stale_feature (instrument_id, dataset, during)
values (%(instrument_id)s, %(dataset)s, %(during)s)
