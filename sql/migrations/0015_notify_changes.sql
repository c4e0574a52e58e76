-- Who keeps answers in memory learns which instrument's may have changed: a transaction that touches what
-- `read_series` reads says so on channel tapehouse_change. The payload is an instrument_id, or '' for all.

create function notify_instrument_change() returns trigger
language plpgsql
as $$
begin
    perform pg_notify('tapehouse_change', coalesce(new.instrument_id, old.instrument_id)::text);
    return null;
end
$$;

create function notify_series_change() returns trigger
language plpgsql
set search_path from current
as $$
begin
    perform pg_notify('tapehouse_change', instrument_id::text)
    from series
    where series_id = coalesce(new.series_id, old.series_id);
    return null;
end
$$;

create function notify_change() returns trigger
language plpgsql
as $$
begin
    perform pg_notify('tapehouse_change', '');
    return null;
end
$$;

create trigger notify_change after insert or delete on series
for each row execute function notify_instrument_change();

create trigger notify_changed_series after update on series
for each row when ((old.revision, old.id_bytes) is distinct from (new.revision, new.id_bytes))
execute function notify_instrument_change();

create trigger notify_change after insert or delete on coverage
for each row execute function notify_series_change();

create trigger notify_changed_coverage after update on coverage
for each row when (old.covered is distinct from new.covered)
execute function notify_series_change();

create trigger notify_change after insert or update or delete on substitute
for each row execute function notify_series_change();

create trigger notify_change after insert or update or delete on stale_rollup
for each row execute function notify_instrument_change();

create trigger notify_change after insert or update or delete on stale_feature
for each row execute function notify_instrument_change();

create trigger notify_changed_instrument after update on instrument
for each row when (
    (old.price_decimals, old.amount_decimals, old.amount_unit, old.trade_unit, old.from_sandbox)
    is distinct from (new.price_decimals, new.amount_decimals, new.amount_unit, new.trade_unit, new.from_sandbox)
)
execute function notify_instrument_change();

create trigger notify_change after insert or update or delete on retention
for each statement execute function notify_change();
