-- A rejected row is known by its series and its hash: an index on its number served no query.
alter table quarantine drop constraint quarantine_pkey, drop constraint quarantine_series_id_raw_md5_key;
alter table quarantine add constraint quarantine_pkey primary key (series_id, raw_md5);
