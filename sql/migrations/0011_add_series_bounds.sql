-- Where a series begins, and which of its rows came from elsewhere than its exchange.

-- Before this time the exchange has nothing of the series, as a search found; null while nobody has searched.
alter table series add column begins_at timestamptz;

-- A row is a range of a series whose rows are not the exchange's own: built from other data of the
-- store, or another exchange's. source says which. An answer of the exchange removes it.
create table substitute (
    series_id   integer not null references series,
    during      tstzrange not null,
    source      text not null,
    recorded_at timestamptz not null default now(),
    primary key (series_id, during)
);
