-- Recompute a rollup's changed buckets in a range of whole buckets.
call refresh_continuous_aggregate({rollup_name}, %(start)s::timestamptz, %(end)s::timestamptz, options => '{{"buckets_per_batch": 2016}}')
