-- The pace at which processes together may ask an exchange: a time line that they reserve slices of.

-- A row is an exchange as asked through one address ('' for its own). What lies before free_at is taken, the last
-- slice by holder, who is_sharing if the one before was another's. Not logged: after a crash it may be empty.
create unlogged table rate_budget (
    exchange   text not null,
    address    text not null,
    free_at    timestamptz not null,
    holder     uuid not null,
    is_sharing boolean not null,
    primary key (exchange, address)
)
-- A row changes several times a second: room beside it keeps its versions on one page.
with (fillfactor = 10);
