-- Advisory locks between clients. The engine has one session, to which every lock is its own: so each lock comes with
-- a second one that names the client, and the front end calls these functions in place of PostgreSQL's
-- (statements.mjs). They are built on PostgreSQL's locks because those, unlike rows and settings, outlive a rollback.

CREATE FUNCTION pg_catalog.tapehouse_lock_owner(client int, key bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$ SELECT pg_catalog.hashtextextended(client || '/' || key, 1) $$;

CREATE FUNCTION pg_catalog.tapehouse_lock_pair(a int, b int) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$ SELECT pg_catalog.hashtextextended(a || ',' || b, 2) $$;

-- The keys of the locks that are held, by whomever.
CREATE FUNCTION pg_catalog.tapehouse_locks() RETURNS SETOF bigint
LANGUAGE sql VOLATILE AS $$
  SELECT (classid::bigint << 32) | objid::bigint FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND objsubid = 1
$$;

CREATE FUNCTION pg_catalog.tapehouse_is_locked(client int, key bigint) RETURNS boolean
LANGUAGE sql VOLATILE AS $$
  SELECT key IN (SELECT pg_catalog.tapehouse_locks())
     AND pg_catalog.tapehouse_lock_owner(client, key) NOT IN (SELECT pg_catalog.tapehouse_locks())
$$;

CREATE FUNCTION pg_catalog.tapehouse_try_advisory_lock(client int, key bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF pg_catalog.tapehouse_is_locked(client, key) THEN RETURN false; END IF;
  PERFORM pg_catalog.pg_advisory_lock(key),
          pg_catalog.pg_advisory_lock(pg_catalog.tapehouse_lock_owner(client, key));
  RETURN true;
END $$;

CREATE FUNCTION pg_catalog.tapehouse_try_advisory_xact_lock(client int, key bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF pg_catalog.tapehouse_is_locked(client, key) THEN RETURN false; END IF;
  PERFORM pg_catalog.pg_advisory_xact_lock(key),
          pg_catalog.pg_advisory_xact_lock(pg_catalog.tapehouse_lock_owner(client, key));
  RETURN true;
END $$;

CREATE FUNCTION pg_catalog.tapehouse_refuse_to_wait() RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'lock_not_available',
    MESSAGE = 'another client holds that advisory lock, and the embedded database can''t wait for it',
    HINT = 'Poll with pg_try_advisory_lock instead.';
END $$;

CREATE FUNCTION pg_catalog.tapehouse_advisory_lock(client int, key bigint) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF pg_catalog.tapehouse_try_advisory_lock(client, key) THEN RETURN; END IF;
  PERFORM pg_catalog.tapehouse_refuse_to_wait();
END $$;

CREATE FUNCTION pg_catalog.tapehouse_advisory_xact_lock(client int, key bigint) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF pg_catalog.tapehouse_try_advisory_xact_lock(client, key) THEN RETURN; END IF;
  PERFORM pg_catalog.tapehouse_refuse_to_wait();
END $$;

CREATE FUNCTION pg_catalog.tapehouse_advisory_unlock(client int, key bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF pg_catalog.tapehouse_lock_owner(client, key) NOT IN (SELECT pg_catalog.tapehouse_locks()) THEN
    RAISE WARNING 'you don''t own a lock of type ExclusiveLock';
    RETURN false;
  END IF;
  RETURN pg_catalog.pg_advisory_unlock(pg_catalog.tapehouse_lock_owner(client, key))
     AND pg_catalog.pg_advisory_unlock(key);
END $$;

CREATE FUNCTION pg_catalog.tapehouse_advisory_unlock_all(client int) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  held bigint[] := ARRAY(SELECT pg_catalog.tapehouse_locks());
  key bigint;
BEGIN
  FOREACH key IN ARRAY held LOOP
    CONTINUE WHEN pg_catalog.tapehouse_lock_owner(client, key) <> ALL (held);
    -- A lock taken several times is given back as often.
    WHILE pg_catalog.tapehouse_lock_owner(client, key) IN (SELECT pg_catalog.tapehouse_locks()) LOOP
      -- One that belongs to the transaction can't be given back.
      EXIT WHEN NOT pg_catalog.tapehouse_advisory_unlock(client, key);
    END LOOP;
  END LOOP;
END $$;

-- The forms with a pair of keys.
CREATE FUNCTION pg_catalog.tapehouse_try_advisory_lock(client int, a int, b int) RETURNS boolean
LANGUAGE sql VOLATILE AS $$
  SELECT pg_catalog.tapehouse_try_advisory_lock(client, pg_catalog.tapehouse_lock_pair(a, b))
$$;
CREATE FUNCTION pg_catalog.tapehouse_try_advisory_xact_lock(client int, a int, b int) RETURNS boolean
LANGUAGE sql VOLATILE AS $$
  SELECT pg_catalog.tapehouse_try_advisory_xact_lock(client, pg_catalog.tapehouse_lock_pair(a, b))
$$;
CREATE FUNCTION pg_catalog.tapehouse_advisory_lock(client int, a int, b int) RETURNS void
LANGUAGE sql VOLATILE AS $$
  SELECT pg_catalog.tapehouse_advisory_lock(client, pg_catalog.tapehouse_lock_pair(a, b))
$$;
CREATE FUNCTION pg_catalog.tapehouse_advisory_xact_lock(client int, a int, b int) RETURNS void
LANGUAGE sql VOLATILE AS $$
  SELECT pg_catalog.tapehouse_advisory_xact_lock(client, pg_catalog.tapehouse_lock_pair(a, b))
$$;
CREATE FUNCTION pg_catalog.tapehouse_advisory_unlock(client int, a int, b int) RETURNS boolean
LANGUAGE sql VOLATILE AS $$
  SELECT pg_catalog.tapehouse_advisory_unlock(client, pg_catalog.tapehouse_lock_pair(a, b))
$$;
