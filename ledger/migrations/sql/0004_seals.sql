-- Seals: each a fingerprint of every entry recorded since the one before, made when nothing can join them any more.
--
--   ledger_append_only           a seal is never changed or removed
--   ledger_seal_chain            a seal continues the one before it: number, transactions, hash, time
--   ledger_seal_horizon          it ends below the oldest transaction still open
--   ledger_seal_ahead            it is not of a time to come: nothing could be posted until then, and it cannot be undone
--   ledger_seal_complete         it holds every entry of its transactions, and no other
--   ledger_entry_before_seal     nothing is recorded at an instant before the last seal
--
-- The canonical form of an entry is a JSON array (docs/decisions/0008):
--   [id, idempotency_key, kind, memo, effective_at, recorded_at, actor, cause, body_digest, reverses_id, recorded_xid,
--    [[line_no, account_id, amount, balance_after, account_version, account], …]]
-- with integers as numbers, instants in UTC, everything else as text, or null; `account` is what never changes of it:
--   [code, kind, currency, normal_side, customer_key, floor, keeps_balance]

-- Hashes do not compress: do not try.
ALTER TABLE ledger_seal ALTER COLUMN leaf_hashes SET STORAGE EXTERNAL;

CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_seal
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();


-- Canonical form and SHA-256 of each entry that the transactions [p_from_xid, p_before_xid) recorded.
-- 00 before a leaf and 01 before a node keep one from passing for the other (RFC 6962).
CREATE FUNCTION ledger_leaves(p_from_xid bigint, p_before_xid bigint) RETURNS TABLE (entry_id bigint, leaf_hash bytea)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp SET enable_nestloop = off
    SET plan_cache_mode = force_custom_plan SET jit = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH entry AS MATERIALIZED (
        SELECT * FROM ledger_journalentry WHERE recorded_xid >= p_from_xid AND recorded_xid < p_before_xid
    ), account AS MATERIALIZED (
        SELECT id, json_build_array(code, kind, currency, normal_side, customer_key, floor::text, keeps_balance) AS body
        FROM ledger_account
    ), body AS (
        SELECT posting.entry_id, json_agg(json_build_array(
                   line_no, account_id, amount::text, balance_after::text, account_version, account.body
               ) ORDER BY line_no) AS postings
        FROM entry JOIN ledger_posting AS posting ON posting.entry_id = entry.id
        LEFT JOIN account ON account.id = posting.account_id
        WHERE posting.entry_id >= (SELECT min(id) FROM entry) AND posting.entry_id <= (SELECT max(id) FROM entry)
        GROUP BY posting.entry_id
    )
    SELECT entry.id, sha256('\x00'::bytea || convert_to(json_build_array(
               entry.id, idempotency_key, kind, memo, effective_at AT TIME ZONE 'UTC', recorded_at AT TIME ZONE 'UTC',
               actor, cause::text, encode(body_digest, 'hex'), reverses_id, recorded_xid, body.postings
           )::text, 'UTF8'))
    FROM entry LEFT JOIN body ON body.entry_id = entry.id ORDER BY entry.id;
END $$;


-- The root of RFC 6962's tree: neighbours are hashed together, level by level; an odd one out goes up as it is.
CREATE FUNCTION ledger_merkle_root(p_leaf_hashes bytea[]) RETURNS bytea LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    level bytea[] := p_leaf_hashes;
BEGIN
    IF cardinality(level) = 0 THEN
        RETURN sha256('');
    END IF;
    WHILE cardinality(level) > 1 LOOP
        level := ARRAY(
            SELECT CASE count(*) WHEN 2 THEN sha256('\x01'::bytea || string_agg(hash, ''::bytea ORDER BY place))
                                 ELSE string_agg(hash, ''::bytea) END
            FROM unnest(level) WITH ORDINALITY AS node (hash, place)
            GROUP BY (place - 1) / 2 ORDER BY (place - 1) / 2);
    END LOOP;
    RETURN level[1];
END $$;


CREATE FUNCTION ledger_seal_hash(p_seal ledger_seal) RETURNS bytea LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RETURN sha256(convert_to(json_build_array(
        p_seal.number, p_seal.sealed_at AT TIME ZONE 'UTC', p_seal.from_xid, p_seal.before_xid, p_seal.entry_count,
        p_seal.first_entry, p_seal.last_entry, encode(p_seal.root, 'hex'), encode(p_seal.previous_hash, 'hex')
    )::text, 'UTF8'));
END $$;


CREATE FUNCTION ledger_require_seal_chain() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    last ledger_seal;
    rule text;
BEGIN
    LOCK TABLE ledger_seal IN SHARE ROW EXCLUSIVE MODE;
    SELECT * INTO last FROM ledger_seal ORDER BY number DESC LIMIT 1;
    rule := CASE
        WHEN NEW.number <> coalesce(last.number, 0) + 1 OR NEW.from_xid <> coalesce(last.before_xid, 0)
            OR NEW.sealed_at < last.sealed_at OR NEW.hash <> ledger_seal_hash(NEW)
            OR NEW.previous_hash <> coalesce(last.hash, decode(repeat('00', 32), 'hex')) THEN 'ledger_seal_chain'
        WHEN NEW.before_xid > pg_snapshot_xmin(pg_current_snapshot())::text::bigint THEN 'ledger_seal_horizon'
        -- The only look at the server's clock: against a mistake of days, not of minutes.
        WHEN NEW.sealed_at > clock_timestamp() + interval '1 day' THEN 'ledger_seal_ahead'
        WHEN NEW.entry_ids <> ARRAY(
                 SELECT id FROM ledger_journalentry
                 WHERE recorded_xid >= NEW.from_xid AND recorded_xid < NEW.before_xid ORDER BY id)
            OR (NEW.entry_count, NEW.first_entry, NEW.last_entry) IS DISTINCT FROM
               (cardinality(NEW.entry_ids)::bigint, NEW.entry_ids[1], NEW.entry_ids[cardinality(NEW.entry_ids)])
            OR cardinality(NEW.leaf_hashes) <> cardinality(NEW.entry_ids) THEN 'ledger_seal_complete' END;
    IF rule IS NOT NULL THEN
        RAISE EXCEPTION 'Seal % is refused: %', NEW.number, rule
            USING ERRCODE = 'check_violation', CONSTRAINT = rule;
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER ledger_seal_chain BEFORE INSERT ON ledger_seal FOR EACH ROW EXECUTE FUNCTION ledger_require_seal_chain();


CREATE FUNCTION ledger_require_record_after_seal() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    broken record;
BEGIN
    SELECT entry.id, last.sealed_at INTO broken
    FROM (SELECT sealed_at FROM ledger_seal ORDER BY number DESC LIMIT 1) AS last
    JOIN added AS entry ON entry.recorded_at < last.sealed_at LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'Entry % is recorded before the last seal, of %', broken.id, broken.sealed_at
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_entry_before_seal';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER ledger_entry_before_seal AFTER INSERT ON ledger_journalentry REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_require_record_after_seal();


-- Seal what was recorded since the last seal, as far as no open transaction could add to it, and p_max_entries at most
-- (of a whole number of transactions). `drained` is false if that limit left something to the next seal.
CREATE FUNCTION ledger_make_seal(p_sealed_at timestamptz, p_max_entries bigint)
RETURNS TABLE (number bigint, entry_count bigint, drained boolean) LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off AS $$
#variable_conflict use_column
DECLARE
    last ledger_seal;
    made ledger_seal;
    horizon bigint;
    first_xid bigint;
BEGIN
    LOCK TABLE ledger_seal IN SHARE ROW EXCLUSIVE MODE;
    SELECT * INTO last FROM ledger_seal ORDER BY number DESC LIMIT 1;
    made.number := coalesce(last.number, 0) + 1;
    made.sealed_at := p_sealed_at;
    made.from_xid := coalesce(last.before_xid, 0);
    made.previous_hash := coalesce(last.hash, decode(repeat('00', 32), 'hex'));

    -- Every transaction below has ended: the statements that follow see all it wrote.
    horizon := pg_snapshot_xmin(pg_current_snapshot())::text::bigint;
    IF horizon < made.from_xid THEN
        RAISE EXCEPTION 'The oldest open transaction is %, the seals stand at %: was this server restored from a dump?',
            horizon, made.from_xid USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_seal_horizon';
    END IF;
    SELECT entry.recorded_xid INTO made.before_xid FROM ledger_journalentry AS entry
    WHERE entry.recorded_xid >= made.from_xid AND entry.recorded_xid < horizon
    ORDER BY entry.recorded_xid OFFSET p_max_entries LIMIT 1;
    drained := NOT FOUND;
    IF drained THEN
        made.before_xid := horizon;
    ELSE
        SELECT min(entry.recorded_xid) INTO first_xid FROM ledger_journalentry AS entry
        WHERE entry.recorded_xid >= made.from_xid AND entry.recorded_xid < horizon;
        made.before_xid := greatest(made.before_xid, first_xid + 1);
    END IF;

    SELECT coalesce(array_agg(leaf.entry_id), '{}'), coalesce(array_agg(leaf.leaf_hash), '{}'), count(*),
           min(leaf.entry_id), max(leaf.entry_id)
    INTO made.entry_ids, made.leaf_hashes, made.entry_count, made.first_entry, made.last_entry
    FROM ledger_leaves(made.from_xid, made.before_xid) AS leaf;
    made.root := ledger_merkle_root(made.leaf_hashes);
    made.hash := ledger_seal_hash(made);
    INSERT INTO ledger_seal SELECT made.*;
    RETURN QUERY SELECT made.number, made.entry_count, drained;
END $$;


-- EXECUTE is granted to the application's role after every migration (config/privileges.py), on ledger_make_seal.
REVOKE ALL ON FUNCTION ledger_leaves, ledger_merkle_root, ledger_seal_hash, ledger_require_seal_chain,
    ledger_require_record_after_seal, ledger_make_seal FROM PUBLIC;
