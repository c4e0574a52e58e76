-- Say a word, which is no change, to all who listen to changes: whoever said it learns whether he hears.
select pg_notify('tapehouse_change', %(word)s)
