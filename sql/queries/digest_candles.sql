-- One row: how many candles of a series open from start to end, and the SHA-256 of its hours' SHA-256s in their order,
-- each of the hour's rows as PostgreSQL sends them in binary: times, ticks and lots.
select
    coalesce(sum(rows), 0)::bigint as rows,
    sha256(coalesce(string_agg(digest, ''::bytea order by hour), ''::bytea)) as digest
from (
    select
        time_bucket(interval '1 hour', time) as hour,
        count(*) as rows,
        sha256(
            string_agg(
                timestamptz_send(time)
                || float8send(open)
                || float8send(high)
                || float8send(low)
                || float8send(close)
                || float8send(volume),
                ''::bytea order by time
            )
        ) as digest
    from ohlcv
    where instrument_id = %(instrument_id)s
        and timeframe_s = %(timeframe_s)s
        and time >= %(start)s
        and time < %(end)s
    group by 1
) as hours
