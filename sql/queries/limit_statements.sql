-- Have the session give up a statement that takes longer than any read should.
set statement_timeout to '10min'
