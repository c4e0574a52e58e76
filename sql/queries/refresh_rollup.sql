-- Recompute a rollup's changed buckets in a range of whole buckets, so many in one go.
call refresh_continuous_aggregate({rollup_name}, %(start)s::timestamptz, %(end)s::timestamptz, options => jsonb_build_object('buckets_per_batch', {buckets}))
