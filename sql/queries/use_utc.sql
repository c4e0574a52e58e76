-- Have the session speak of times in UTC.
set timezone to 'UTC'
