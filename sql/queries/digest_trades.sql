-- One row: how many trades an instrument has from start to end, and the SHA-256 of its hours' SHA-256s in their order,
-- each of the hour's rows as PostgreSQL sends them in binary: times,
-- ids (as texts of id_bytes with blanks, or as numbers where that is 0), ticks, lots and sides.
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
                || case
                    when %(id_bytes)s::integer = 0 then int8send(trade_id)
                    else textsend(rpad(id, char_length(id) + %(id_bytes)s::integer - octet_length(id)))
                end
                || float8send(price)
                || float8send(amount)
                || int2send(side),
                ''::bytea order by time, trade_id, id_text
            )
        ) as digest
    from trade
    cross join lateral (select case when id_text = '' then trade_id::text else id_text end as id) as i
    where instrument_id = %(instrument_id)s
        and time >= %(start)s
        and time < %(end)s
    group by 1
) as hours
