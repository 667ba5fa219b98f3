-- Accounting periods. The books are closed up to one instant, that of the last row of ledger_periodclosing.
--
--   ledger_append_only           a decision is never changed or removed
--   ledger_period_order          closing moves the instant forward; moving it back is a reopening, and says so
--   ledger_period_closed         no entry takes effect in a closed period, whoever writes it
--   ledger_entry_isolation       entries are written at READ COMMITTED: an older snapshot would not see the last decision
--
-- Who posts holds the table in ROW SHARE until his transaction ends; who closes needs it in EXCLUSIVE, and so waits for
-- every posting that was judged by the decision before his. Readers and backups are in nobody's way.

CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_periodclosing
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();


-- The start of the open period, held so until this transaction ends.
CREATE FUNCTION ledger_closed_before() RETURNS timestamptz LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    LOCK TABLE ledger_periodclosing IN ROW SHARE MODE;
    RETURN coalesce((SELECT closed_before FROM ledger_periodclosing ORDER BY id DESC LIMIT 1), '-infinity');
END $$;


CREATE FUNCTION ledger_require_open_period() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    broken record;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'Entries are written at READ COMMITTED, not at %', current_setting('transaction_isolation')
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_entry_isolation';
    END IF;
    LOCK TABLE ledger_periodclosing IN ROW SHARE MODE;
    SELECT entry.id, last.closed_before INTO broken
    FROM (SELECT closed_before FROM ledger_periodclosing ORDER BY id DESC LIMIT 1) AS last
    JOIN added AS entry ON entry.effective_at < last.closed_before LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'Entry % takes effect before %, in a closed period', broken.id, broken.closed_before
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_period_closed';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER ledger_period_closed AFTER INSERT ON ledger_journalentry REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_require_open_period();


CREATE FUNCTION ledger_require_period_order() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    closed_before timestamptz;
BEGIN
    -- Also for who inserts by hand: postings judged by the decision before this one end first.
    LOCK TABLE ledger_periodclosing IN EXCLUSIVE MODE;
    SELECT last.closed_before INTO closed_before FROM ledger_periodclosing AS last ORDER BY last.id DESC LIMIT 1;
    IF NEW.id <= (SELECT max(id) FROM ledger_periodclosing)
       OR (CASE WHEN NEW.reopens THEN NEW.closed_before < closed_before
                ELSE NEW.closed_before > coalesce(closed_before, '-infinity') END) IS NOT TRUE THEN
        RAISE EXCEPTION 'The books are closed before %', coalesce(closed_before::text, 'nothing')
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_period_order';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER ledger_period_order BEFORE INSERT ON ledger_periodclosing
    FOR EACH ROW EXECUTE FUNCTION ledger_require_period_order();


-- Close every period before p_closed_before, or (p_reopens) open those from it on again. Postings under way are waited
-- for, but new ones queue behind us meanwhile, so not for long.
CREATE FUNCTION ledger_decide_period(
    p_closed_before timestamptz, p_reopens boolean, p_decided_at timestamptz, p_actor text, p_reason text)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '3s' AS $$
DECLARE
    decision bigint;
BEGIN
    LOCK TABLE ledger_periodclosing IN EXCLUSIVE MODE;
    INSERT INTO ledger_periodclosing (closed_before, reopens, decided_at, actor, reason)
    VALUES (p_closed_before, p_reopens, p_decided_at, p_actor, p_reason)
    RETURNING id INTO decision;
    RETURN decision;
END $$;


-- EXECUTE is granted to the application's role after every migration (config/privileges.py), on ledger_decide_period.
REVOKE ALL ON FUNCTION ledger_closed_before, ledger_require_open_period, ledger_require_period_order,
    ledger_decide_period FROM PUBLIC;
