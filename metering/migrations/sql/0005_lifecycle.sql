-- How a month of events leaves the database and how identities are forgotten. Everything here runs as the owner: the
-- application may call the functions and write the rows that say what it did, and cannot drop or delete by itself.

-- One event as the texts of its row in an archive, in the order of the file's columns. What is archived, what is proved
-- before a month is dropped and what is compared after it came back is this one definition.
CREATE FUNCTION metering_archive_fields(e metering_event) RETURNS text[]
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT ARRAY[
        to_char(e.event_time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        to_char(e.received_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        e.recorded_xid::text, e.key::text, e.source::text, e.event_id::text, e.event_type::text,
        e.customer_key::text, e.data::text]
$$;

-- 60 bits of SHA-256 over one row. Control characters are refused at the door, so chr(31) parts the columns.
CREATE FUNCTION metering_archive_fingerprint(fields text[]) RETURNS numeric
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT ('x' || left(encode(sha256(convert_to(array_to_string(fields, chr(31)), 'UTF8')), 'hex'), 15))
           ::bit(60)::bigint::numeric
$$;

INSERT INTO metering_retention (id, retention_days, dedupe_horizon_days, changed_at)
VALUES (1, 396, 396, '2000-01-01 00:00+00');

-- Whoever is a little late still meets what he was promised: a request that began before the horizon passed its event,
-- a clock that goes ahead of another.
CREATE FUNCTION metering_lifecycle_margin() RETURNS interval LANGUAGE sql IMMUTABLE AS $$ SELECT interval '24 hours' $$;

-- Identities of events before this instant may be forgotten: the door refuses such events, and did so for a day.
CREATE FUNCTION metering_forgettable_before() RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT now() - make_interval(hours => 24 * dedupe_horizon_days) - metering_lifecycle_margin()
           FROM metering_retention
          WHERE changed_at <= now() - metering_lifecycle_margin()), '-infinity')
$$;

CREATE FUNCTION metering_check_retention() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR EXISTS (
        SELECT FROM metering_keyforgetting
         WHERE before > now() - make_interval(hours => 24 * NEW.dedupe_horizon_days)) THEN
        RAISE EXCEPTION 'metering_horizon_reaches_forgotten_keys: the dedupe horizon would let events in again whose '
            'identities were forgotten'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'metering_horizon_reaches_forgotten_keys',
                  TABLE = TG_TABLE_NAME, HINT = 'Keep the horizon; it can be raised as time passes.';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER metering_retention_checked BEFORE UPDATE OR DELETE ON metering_retention
    FOR EACH ROW EXECUTE FUNCTION metering_check_retention();

CREATE FUNCTION metering_refuse_archive_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'metering_archives_are_immutable: % on % is refused, what was archived is never rewritten',
        TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', CONSTRAINT = 'metering_archives_are_immutable', TABLE = TG_TABLE_NAME;
END
$$;

CREATE TRIGGER metering_immutable_row BEFORE UPDATE OR DELETE ON metering_eventarchive
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_archive_change();
CREATE TRIGGER metering_immutable_table BEFORE TRUNCATE ON metering_eventarchive
    FOR EACH STATEMENT EXECUTE FUNCTION metering_refuse_archive_change();

CREATE TRIGGER metering_immutable_row BEFORE UPDATE OR DELETE ON metering_archiveverification
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_archive_change();
CREATE TRIGGER metering_immutable_table BEFORE TRUNCATE ON metering_archiveverification
    FOR EACH STATEMENT EXECUTE FUNCTION metering_refuse_archive_change();

CREATE TRIGGER metering_immutable_row BEFORE UPDATE OR DELETE ON metering_partitionmove
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_archive_change();
CREATE TRIGGER metering_immutable_table BEFORE TRUNCATE ON metering_partitionmove
    FOR EACH STATEMENT EXECUTE FUNCTION metering_refuse_archive_change();

CREATE TRIGGER metering_immutable_row BEFORE UPDATE OR DELETE ON metering_keyforgetting
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_archive_change();
CREATE TRIGGER metering_immutable_table BEFORE TRUNCATE ON metering_keyforgetting
    FOR EACH STATEMENT EXECUTE FUNCTION metering_refuse_archive_change();

-- Months whose events are in an archive and no longer in the database.
CREATE VIEW metering_archived_month AS
    SELECT month, archive_id, moved_at
      FROM (SELECT DISTINCT ON (month) month, archive_id, moved_at, move
              FROM metering_partitionmove ORDER BY month, id DESC) AS latest
     WHERE move = 'dropped';

-- A partition for an archived month would take usage of which nothing could be proved.
ALTER FUNCTION metering_ensure_partitions(timestamptz, timestamptz) RENAME TO metering_make_partitions;
CREATE FUNCTION metering_ensure_partitions(from_time timestamptz, to_time timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM metering_archived_month
                WHERE month::timestamp AT TIME ZONE 'UTC' < to_time
                  AND (month + interval '1 month') AT TIME ZONE 'UTC' > from_time) THEN
        RAISE EXCEPTION 'metering_month_is_archived: % to % touches a month whose events were archived',
            from_time, to_time
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'metering_month_is_archived',
                  HINT = 'Bring the month back with manage.py restore_usage_archive.';
    END IF;
    RETURN metering_make_partitions(from_time, to_time);
END
$$;
REVOKE EXECUTE ON FUNCTION metering_ensure_partitions(timestamptz, timestamptz) FROM PUBLIC;

CREATE FUNCTION metering_refuse_drop(rule text, explained text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%: %', rule, explained
        USING ERRCODE = 'restrict_violation', CONSTRAINT = rule, TABLE = 'metering_event';
END
$$;

-- Detach and drop one month, after proving that a verified archive holds exactly its events. Returns how many.
-- The proof reads under a lock that stops nobody but writers of that month; readers and writers of other months wait
-- for the few milliseconds of the drop itself, and it gives up rather than let them queue behind it.
CREATE FUNCTION metering_drop_partition(dropped_month date, actor text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    starts timestamptz := dropped_month::timestamp AT TIME ZONE 'UTC';
    ends timestamptz := (dropped_month + interval '1 month') AT TIME ZONE 'UTC';
    partition text := to_char(dropped_month, '"metering_event_"YYYY"_"MM');
    archive metering_eventarchive;
    found_events bigint;
    found_fingerprint numeric;
    last_xid bigint;
BEGIN
    IF extract(day FROM dropped_month) <> 1 OR to_regclass('public.' || partition) IS NULL THEN
        PERFORM metering_refuse_drop('metering_drop_no_partition', format('%s is no month with events', dropped_month));
    END IF;
    IF NOT EXISTS (SELECT FROM metering_retention
                    WHERE ends <= now() - make_interval(hours => 24 * retention_days) - metering_lifecycle_margin()) THEN
        PERFORM metering_refuse_drop('metering_drop_younger_than_retention',
                                     format('%s is younger than its retention', partition));
    END IF;
    IF EXISTS (SELECT FROM metering_partitionmove WHERE month = dropped_month AND hold_until > now()) THEN
        PERFORM metering_refuse_drop('metering_drop_held', format('%s was restored and is still held', partition));
    END IF;
    EXECUTE format('LOCK TABLE public.%I IN SHARE MODE', partition);
    SELECT a.* INTO archive FROM metering_eventarchive AS a
     WHERE a.month = dropped_month AND EXISTS (SELECT FROM metering_archiveverification WHERE archive_id = a.id)
     ORDER BY a.id DESC LIMIT 1;
    IF archive.id IS NULL THEN
        PERFORM metering_refuse_drop('metering_drop_needs_verified_archive',
                                     format('%s has no verified archive', partition));
    END IF;
    SELECT count(*), coalesce(sum(metering_archive_fingerprint(metering_archive_fields(e))), 0), max(recorded_xid)
      INTO found_events, found_fingerprint, last_xid
      FROM metering_event AS e WHERE event_time >= starts AND event_time < ends;
    SELECT greatest(last_xid, max(recorded_xid)) INTO last_xid
      FROM metering_event_mark WHERE event_time >= starts AND event_time < ends;
    IF last_xid >= (SELECT coalesce(max(next_xid), 0) FROM metering_cursor) THEN
        PERFORM metering_refuse_drop('metering_drop_not_aggregated',
                                     format('%s holds events or marks that are in no window yet', partition));
    END IF;
    IF (found_events, found_fingerprint) IS DISTINCT FROM (archive.events, archive.fingerprint) THEN
        PERFORM metering_refuse_drop('metering_drop_archive_differs',
            format('%s holds %s events, its verified archive %s', partition, found_events, archive.events));
    END IF;
    EXECUTE format('ALTER TABLE public.metering_event DETACH PARTITION public.%I', partition);
    -- Detaching waited for marks that were being written during the proof, which could not see them.
    IF EXISTS (SELECT FROM metering_event_mark
                WHERE event_time >= starts AND event_time < ends
                  AND recorded_xid >= (SELECT coalesce(max(next_xid), 0) FROM metering_cursor)) THEN
        PERFORM metering_refuse_drop('metering_drop_not_aggregated',
                                     format('%s holds marks that are in no window yet', partition));
    END IF;
    EXECUTE format('DROP TABLE public.%I', partition);
    INSERT INTO metering_partitionmove (month, archive_id, move, moved_at, moved_by)
    VALUES (dropped_month, archive.id, 'dropped', now(), actor);
    RETURN found_events;
END
$$;
REVOKE EXECUTE ON FUNCTION metering_drop_partition(date, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION metering_make_partitions(timestamptz, timestamptz) FROM PUBLIC;

-- Identities stay as long as the door could let their events in again; after that they may be forgotten, and only then.
DROP TRIGGER metering_immutable_row ON metering_event_key;
CREATE TRIGGER metering_immutable_row BEFORE UPDATE ON metering_event_key
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_change();
CREATE TRIGGER metering_keep_key BEFORE DELETE ON metering_event_key
    FOR EACH ROW WHEN (OLD.event_time >= metering_forgettable_before()) EXECUTE FUNCTION metering_refuse_change();

-- Forget the identities of events before an instant that lie on some pages of the table; returns how many. By page:
-- an index on the time would cost every accepted event something, and this walks the table once a month.
CREATE FUNCTION metering_forget_keys(before timestamptz, first_page bigint, pages integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    forgotten bigint;
BEGIN
    IF before IS NULL OR before > metering_forgettable_before() THEN
        RAISE EXCEPTION 'metering_keys_within_the_horizon: events before % may still be sent again', before
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'metering_keys_within_the_horizon',
                  TABLE = 'metering_event_key';
    END IF;
    DELETE FROM metering_event_key AS k
     WHERE k.ctid >= format('(%s,0)', first_page)::tid AND k.ctid < format('(%s,0)', first_page + pages)::tid
       AND k.event_time < before;
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    RETURN forgotten;
END
$$;
REVOKE EXECUTE ON FUNCTION metering_forget_keys(timestamptz, bigint, integer) FROM PUBLIC;

-- Add up figures of the machine's own pace that nobody looks at by the minute any more, and let the oldest go.
CREATE FUNCTION metering_thin_figures(before timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET TimeZone = 'UTC' AS $$
DECLARE
    thinned bigint;
BEGIN
    IF before IS NULL OR before > now() - interval '24 hours' THEN
        RAISE EXCEPTION 'metering_figures_of_today: figures are kept by the minute for a day at least'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'metering_figures_of_today',
                  TABLE = 'metering_freshness';
    END IF;
    DELETE FROM metering_freshness WHERE minute < before - interval '396 days';
    DELETE FROM metering_sourcehour WHERE hour < before - interval '90 days';
    DELETE FROM metering_meterhour WHERE hour < before - interval '90 days';
    WITH gone AS (DELETE FROM metering_freshness WHERE minute < before AND span_seconds = 60 RETURNING *)
    INSERT INTO metering_freshness (stage, minute, step, events, longest_us, span_seconds)
    SELECT stage, date_trunc('hour', minute), step, sum(events), max(longest_us), 3600 FROM gone GROUP BY 1, 2, 3;
    GET DIAGNOSTICS thinned = ROW_COUNT;
    WITH gone AS (DELETE FROM metering_outcomecount WHERE hour < before AND hour >= before - interval '7 days' RETURNING *)
    INSERT INTO metering_outcomecount (hour, outcome, events)
    SELECT hour, outcome, sum(events) FROM gone GROUP BY 1, 2;
    RETURN thinned;
END
$$;
REVOKE EXECUTE ON FUNCTION metering_thin_figures(timestamptz) FROM PUBLIC;

-- What the alarms count of the last hours.
CREATE INDEX metering_conflict_received ON metering_eventconflict (received_at);
CREATE INDEX metering_quarantine_received ON metering_quarantinedevent (received_at) WHERE resolved_at IS NULL;
CREATE INDEX metering_advance_instant ON metering_aggregationadvance (advanced_at);
