"""The SQL of migration 0003: marks on events, what windows keep beside their figures, and versions that stay as they are.

It runs as the owner. What is refused here is refused to everybody.
"""

MARKS = """
-- Which events count. An event is void while its latest mark has an odd position; the event itself never changes.
CREATE TABLE metering_event_mark (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key           uuid NOT NULL,
    event_time    timestamptz NOT NULL,
    position      smallint NOT NULL,
    sign          smallint NOT NULL,
    correction_id bigint NOT NULL,
    marked_at     timestamptz NOT NULL,
    recorded_xid  bigint NOT NULL DEFAULT (pg_current_xact_id()::text)::bigint,
    CONSTRAINT metering_mark_once UNIQUE (key, position),
    CONSTRAINT metering_mark_sign CHECK (position > 0 AND sign = CASE position % 2 WHEN 1 THEN -1 ELSE 1 END)
);
-- Aggregation reads marks in the order of the transactions that recorded them; verification reads those of a range.
CREATE INDEX metering_event_mark_recorded ON metering_event_mark (recorded_xid);
CREATE INDEX metering_event_mark_time ON metering_event_mark (event_time);
CREATE INDEX metering_event_mark_correction ON metering_event_mark (correction_id);

CREATE FUNCTION metering_refuse_wrong_marks() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wrong record;
BEGIN
    SELECT n.key, n.position INTO wrong FROM new_mark AS n
     WHERE n.position > 1 AND NOT EXISTS (
           SELECT FROM metering_event_mark AS m
            WHERE m.key = n.key AND m.position = n.position - 1 AND m.event_time = n.event_time
              AND m.recorded_xid <= n.recorded_xid)
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'metering_mark_in_order: mark % of event % does not follow the one before it',
            wrong.position, wrong.key
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'metering_mark_in_order',
                  TABLE = TG_TABLE_NAME, HINT = 'Positions have no gaps, and a later position is recorded later.';
    END IF;
    -- A mark is taken from its windows only where its event is in them already.
    SELECT n.key, n.position INTO wrong FROM new_mark AS n
     WHERE NOT EXISTS (
           SELECT FROM metering_event AS e
            WHERE e.event_time = n.event_time AND e.key = n.key AND e.recorded_xid < n.recorded_xid)
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'metering_mark_after_its_event: no event % was recorded before mark %', wrong.key, wrong.position
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'metering_mark_after_its_event',
                  TABLE = TG_TABLE_NAME, HINT = 'Try again in a new transaction; an archived event is restored first.';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER metering_mark_rules AFTER INSERT ON metering_event_mark
    REFERENCING NEW TABLE AS new_mark FOR EACH STATEMENT EXECUTE FUNCTION metering_refuse_wrong_marks();
"""

# Whoever adds a table of facts names its rule as the trigger's argument.
FACTS = """
CREATE FUNCTION metering_refuse_fact_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%: % on % is refused, it is corrected by adding', TG_ARGV[0], TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_ARGV[0], TABLE = TG_TABLE_NAME;
END
$$;
""" + "".join(
    f"""
CREATE TRIGGER metering_immutable_row BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_fact_change('{rule}');
CREATE TRIGGER metering_immutable_table BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION metering_refuse_fact_change('{rule}');
"""
    for table, rule in (
        ("metering_event_mark", "metering_marks_are_immutable"),
        ("metering_window_repair", "metering_repairs_are_immutable"),
    )
)

WINDOWS = """
ALTER TABLE metering_window DROP CONSTRAINT metering_window_counts;
-- A window whose events were all voided stays, and holds nothing.
ALTER TABLE metering_window ADD CONSTRAINT metering_window_counts CHECK (
    quantity >= 0 AND event_count >= 0 AND fingerprint >= 0
    AND (event_count > 0 OR (quantity = 0 AND fingerprint = 0)));

-- What a window of unique values keeps: each value by 128 bits of its SHA-256, and how many events hold it.
CREATE TABLE metering_window_value (
    window_id bigint NOT NULL REFERENCES metering_window (id),
    value_key uuid NOT NULL,
    events    bigint NOT NULL,
    CONSTRAINT metering_window_value_pkey PRIMARY KEY (window_id, value_key),
    CONSTRAINT metering_window_value_counts CHECK (events > 0)
);

-- What a window of a gauge keeps: its first and last event, and the integral from the one to the other in
-- value x microseconds. With a key of its own, so that the last window before an instant is found without reading all.
CREATE TABLE metering_window_gauge (
    customer_key   varchar(128) NOT NULL,
    meter_id       bigint NOT NULL REFERENCES metering_meter (id),
    dimensions_key uuid NOT NULL,
    window_start   timestamptz NOT NULL,
    dimensions     jsonb NOT NULL,
    first_time     timestamptz NOT NULL,
    first_event_id text COLLATE "C" NOT NULL,
    first_source   text COLLATE "C" NOT NULL,
    first_value    numeric(38, 12) NOT NULL,
    last_time      timestamptz NOT NULL,
    last_event_id  text COLLATE "C" NOT NULL,
    last_source    text COLLATE "C" NOT NULL,
    last_value     numeric(38, 12) NOT NULL,
    integral       numeric NOT NULL,
    -- Events arrived that lie before its last one: it is worked out again before the transaction ends.
    stale          boolean NOT NULL DEFAULT false,
    CONSTRAINT metering_window_gauge_pkey PRIMARY KEY (customer_key, meter_id, dimensions_key, window_start),
    CONSTRAINT metering_window_gauge_in_its_hour CHECK (
        first_time >= window_start AND last_time < window_start + interval '1 hour' AND integral >= 0
        AND (last_time, last_event_id, last_source) >= (first_time, first_event_id, first_source))
);
"""

FUNCTIONS = r"""
-- The identity of an event as 64 bits: Jenkins' lookup3 over time, id and source, each seeded with the one before, so
-- that no two of them can change places unnoticed. PostgreSQL partitions by these hashes, so they stay what they are.
-- COLLATE "C": of the bytes alone. The time is taken as microseconds since 2000.
CREATE FUNCTION metering_identity(source text, event_id text, event_time timestamptz) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT hashtextextended(source COLLATE "C",
           hashtextextended(event_id COLLATE "C", hash_record_extended(ROW(event_time), 0)))
$$;

-- The values of several dimensions in the order of their names, for the key of a group; a missing one is NULL.
CREATE FUNCTION metering_dimension_values(data jsonb, names text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_agg(left(data #>> string_to_array(name, '.'), 200) ORDER BY place)
      FROM unnest(names) WITH ORDINALITY AS n (name, place)
$$;

-- Whether an event matches any of the alternatives: all paths of one hold one of the texts allowed there.
CREATE FUNCTION metering_matches(data jsonb, filters jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT EXISTS (
        SELECT FROM jsonb_array_elements(filters) AS alternative
         WHERE NOT EXISTS (
               SELECT FROM jsonb_each(alternative) AS f (path, allowed)
                WHERE NOT coalesce(allowed ? (data #>> string_to_array(path, '.')), false)))
$$;

-- A value as unique_count tells values apart: by its text. NULL for an object or a list, and for none.
CREATE FUNCTION metering_value_key(value jsonb) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN jsonb_typeof(value) IN ('string', 'number', 'boolean')
                THEN encode(substring(sha256(convert_to(value #>> '{}', 'UTF8')) FOR 16), 'hex')::uuid END
$$;
"""

METERS = """
CREATE FUNCTION metering_freeze_meter() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF NOT EXISTS (SELECT FROM metering_window WHERE meter_id = OLD.id) THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION 'metering_meter_has_windows: version % of meter % has windows and stays', OLD.version, OLD.code
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'metering_meter_has_windows', TABLE = TG_TABLE_NAME;
    END IF;
    IF to_jsonb(NEW) - '{active,counts_before_xid}'::text[] <> to_jsonb(OLD) - '{active,counts_before_xid}'::text[]
       OR OLD.counts_before_xid IS NOT NULL AND NEW.counts_before_xid IS DISTINCT FROM OLD.counts_before_xid THEN
        RAISE EXCEPTION 'metering_meter_version_is_frozen: version % of meter % is never changed', OLD.version, OLD.code
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'metering_meter_version_is_frozen',
                  TABLE = TG_TABLE_NAME, HINT = 'Define the meter again: that makes a new version.';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER metering_meter_frozen BEFORE UPDATE OR DELETE ON metering_meter
    FOR EACH ROW EXECUTE FUNCTION metering_freeze_meter();
"""

SQL = MARKS + FACTS + WINDOWS + FUNCTIONS + METERS

REVERSE = """
DROP TRIGGER metering_meter_frozen ON metering_meter;
DROP FUNCTION metering_freeze_meter();
DROP TABLE metering_event_mark, metering_window_value, metering_window_gauge;
DROP TRIGGER metering_immutable_row ON metering_window_repair;
DROP TRIGGER metering_immutable_table ON metering_window_repair;
DROP FUNCTION metering_refuse_wrong_marks();
DROP FUNCTION metering_refuse_fact_change();
DROP FUNCTION metering_identity(text, text, timestamptz);
DROP FUNCTION metering_dimension_values(jsonb, text[]);
DROP FUNCTION metering_matches(jsonb, jsonb);
DROP FUNCTION metering_value_key(jsonb);
"""
