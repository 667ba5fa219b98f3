-- Balances of system accounts: snapshots, and what came after (docs/decisions/0009).
--
--   ledger_append_only             marks and snapshots are never changed or removed
--   ledger_snapshot_mark           a mark names an id that was committed before its transaction got a number
--   ledger_snapshot_account        only accounts that keep no balance have snapshots
--   ledger_snapshot_horizon        a snapshot ends at a mark older than every open transaction
--   ledger_snapshot_sum            it is the one before it and the postings since
--   ledger_entry_before_snapshot   no entry of a transaction later than a mark has an id up to it
--
-- An entry's id is drawn when its transaction has a number: the posting functions ask for the number first. So whoever
-- drew an id up to a mark has a lower number than the mark's transaction, and once no transaction below that is open,
-- every entry up to the mark is there or never will be.

CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_snapshotmark
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_balancesnapshot
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();


-- Before the statement's rows are made, and so before one of them can ask for the transaction's number.
CREATE FUNCTION ledger_require_fresh_transaction() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF pg_current_xact_id_if_assigned() IS NOT NULL THEN
        RAISE EXCEPTION 'A mark is made by a transaction that has written nothing before'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_snapshot_mark';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER ledger_snapshot_mark_first BEFORE INSERT ON ledger_snapshotmark
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_require_fresh_transaction();


-- STABLE: it sees what was committed when the statement began, before the transaction had its number.
CREATE FUNCTION ledger_require_sound_mark() RETURNS trigger LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.marked_xid <> pg_current_xact_id()::text::bigint
       OR NEW.entry > coalesce((SELECT max(id) FROM ledger_journalentry), 0) THEN
        RAISE EXCEPTION 'The mark of entry % is refused', NEW.entry
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_snapshot_mark';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER ledger_snapshot_mark BEFORE INSERT ON ledger_snapshotmark
    FOR EACH ROW EXECUTE FUNCTION ledger_require_sound_mark();


-- The last id up to which no open or future transaction records an entry; 0 if none is known.
CREATE FUNCTION ledger_settled_entry() RETURNS bigint LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RETURN coalesce((
        SELECT entry FROM ledger_snapshotmark
        WHERE marked_xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint ORDER BY entry DESC LIMIT 1), 0);
END $$;


CREATE FUNCTION ledger_require_sound_snapshots() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp SET plan_cache_mode = force_custom_plan
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    horizon bigint := pg_snapshot_xmin(pg_current_snapshot())::text::bigint;
    broken record;
BEGIN
    SELECT snapshot.account_id, snapshot.through_entry,
           CASE WHEN account.keeps_balance IS NOT FALSE THEN 'ledger_snapshot_account'
                WHEN mark.marked_xid IS NULL OR mark.marked_xid >= horizon THEN 'ledger_snapshot_horizon'
                ELSE 'ledger_snapshot_sum' END AS rule
    INTO broken
    FROM added AS snapshot
    LEFT JOIN ledger_account AS account ON account.id = snapshot.account_id
    LEFT JOIN ledger_snapshotmark AS mark ON mark.entry = snapshot.through_entry
    LEFT JOIN LATERAL (
        SELECT * FROM ledger_balancesnapshot AS earlier
        WHERE earlier.account_id = snapshot.account_id AND earlier.through_entry < snapshot.through_entry
        ORDER BY earlier.through_entry DESC LIMIT 1
    ) AS last ON true
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(amount) FILTER (WHERE amount > 0), 0) AS debit,
               coalesce(-sum(amount) FILTER (WHERE amount < 0), 0) AS credit, count(*) AS posting_count
        FROM ledger_posting
        WHERE account_id = snapshot.account_id AND account_version IS NULL
          AND entry_id > coalesce(last.through_entry, 0) AND entry_id <= snapshot.through_entry
    ) AS since
    WHERE account.keeps_balance IS NOT FALSE OR mark.marked_xid IS NULL OR mark.marked_xid >= horizon
       OR (snapshot.debit, snapshot.credit, snapshot.posting_count) IS DISTINCT FROM
          (coalesce(last.debit, 0) + since.debit, coalesce(last.credit, 0) + since.credit,
           coalesce(last.posting_count, 0) + since.posting_count)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'The snapshot of account % through entry % is refused: %',
            broken.account_id, broken.through_entry, broken.rule
            USING ERRCODE = 'check_violation', CONSTRAINT = broken.rule;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER ledger_snapshot_rules AFTER INSERT ON ledger_balancesnapshot REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_require_sound_snapshots();


-- Who drew his id has a lower number than a mark of it; this is for who writes an id by hand, or asks for his number late.
CREATE FUNCTION ledger_require_entry_after_snapshot() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF EXISTS (
        SELECT FROM ledger_snapshotmark
        WHERE entry >= (SELECT min(id) FROM added) AND marked_xid < pg_current_xact_id()::text::bigint) THEN
        RAISE EXCEPTION 'Entry % may have been counted as missing already', (SELECT min(id) FROM added)
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_entry_before_snapshot';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER ledger_entry_before_snapshot AFTER INSERT ON ledger_journalentry REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_require_entry_after_snapshot();


-- Mark the newest entry, and take a snapshot, through the newest mark that is settled, of each system account with
-- p_min_postings since its last one. Reads the postings since then, writes a row for each such account.
CREATE FUNCTION ledger_take_snapshots(p_taken_at timestamptz, p_min_postings bigint)
RETURNS TABLE (marked_entry bigint, through_entry bigint, snapshot_count bigint) LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    newest bigint;
    settled bigint;
    taken bigint;
BEGIN
    LOCK TABLE ledger_snapshotmark IN SHARE ROW EXCLUSIVE MODE;
    settled := ledger_settled_entry();
    SELECT max(id) INTO newest FROM ledger_journalentry;
    IF newest - coalesce((SELECT max(entry) FROM ledger_snapshotmark), 0) >= p_min_postings THEN
        INSERT INTO ledger_snapshotmark (entry, marked_xid, marked_at)
        VALUES (newest, pg_current_xact_id()::text::bigint, p_taken_at);
    ELSE
        newest := NULL;
    END IF;

    INSERT INTO ledger_balancesnapshot (account_id, through_entry, debit, credit, posting_count, taken_at)
    SELECT account.id, settled, coalesce(last.debit, 0) + since.debit, coalesce(last.credit, 0) + since.credit,
           coalesce(last.posting_count, 0) + since.posting_count, p_taken_at
    FROM ledger_account AS account
    LEFT JOIN LATERAL (
        SELECT * FROM ledger_balancesnapshot AS earlier WHERE earlier.account_id = account.id
        ORDER BY earlier.through_entry DESC LIMIT 1
    ) AS last ON true
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(amount) FILTER (WHERE amount > 0), 0) AS debit,
               coalesce(-sum(amount) FILTER (WHERE amount < 0), 0) AS credit, count(*) AS posting_count
        FROM ledger_posting AS posting
        WHERE posting.account_id = account.id AND posting.account_version IS NULL
          AND posting.entry_id > coalesce(last.through_entry, 0) AND posting.entry_id <= settled
    ) AS since
    WHERE NOT account.keeps_balance AND since.posting_count >= p_min_postings;
    GET DIAGNOSTICS taken = ROW_COUNT;
    RETURN QUERY SELECT newest, nullif(settled, 0), taken;
END $$;


-- EXECUTE is granted to the application's role after every migration (config/privileges.py), on ledger_take_snapshots.
REVOKE ALL ON FUNCTION ledger_require_fresh_transaction, ledger_require_sound_mark, ledger_settled_entry,
    ledger_require_sound_snapshots, ledger_require_entry_after_snapshot, ledger_take_snapshots FROM PUBLIC;
