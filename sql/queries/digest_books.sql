-- One row: how many order books an instrument has from start to end, and the SHA-256 of its hours' SHA-256s in their order,
-- each of the hour's rows as PostgreSQL sends them in binary: times, when
-- they were received, nonces (-1 for none), and levels in ticks and lots, filled up with NaN to one depth.
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
                || timestamptz_send(received_at)
                || int8send(coalesce(nonce, -1))
                || array_send((bid_price || array_fill('NaN'::float8, array[%(depth)s::integer]))[1:%(depth)s::integer])
                || array_send((bid_amount || array_fill('NaN'::float8, array[%(depth)s::integer]))[1:%(depth)s::integer])
                || array_send((ask_price || array_fill('NaN'::float8, array[%(depth)s::integer]))[1:%(depth)s::integer])
                || array_send((ask_amount || array_fill('NaN'::float8, array[%(depth)s::integer]))[1:%(depth)s::integer]),
                ''::bytea order by time
            )
        ) as digest
    from order_book
    where instrument_id = %(instrument_id)s
        and time >= %(start)s
        and time < %(end)s
    group by 1
) as hours
