-- What the database refuses in the journal, whoever asks, the owner included. Triggers refuse; none of them computes.
--
--   ledger_append_only           entries and postings are never changed or removed, accounts never removed
--   ledger_entry_recorded_xid    an entry names the transaction that writes it
--   ledger_entry_empty           an entry has two postings or more, written in the statement that writes the entry
--   ledger_reversal_mirrors      a reversal is the mirror image of the entry it names
--   ledger_entry_sealed          postings join an entry only in its own transaction, and all of them at once
--   ledger_entry_balanced        the postings of an entry sum to zero in each currency
--   ledger_entry_currency        one currency an entry, unless its kind is "fx" or "fx_…"
--   ledger_account_unknown       a posting's account exists
--   ledger_account_closed        and is open
--   ledger_balance_chain         balance and version of an account move only with its postings, one step each
--   ledger_account_fixed         nothing else of an account changes; it opens empty, and closes once
--
-- They are statement triggers over transition tables: one pass a statement, whether it writes one entry or thousands. The kind
-- of join is fixed in each, because a plan made in a session's first minute, on small tables, is kept for all that follows:
-- of the journal and the accounts only what the statement names is read, each row by one search of an index.

ALTER TABLE ledger_journalentry
    ADD CONSTRAINT ledger_entry_digest CHECK (octet_length(body_digest) = 32),
    -- The unique key then says that an entry is reversed once at most.
    ADD CONSTRAINT ledger_entry_reversal_key CHECK (
        CASE WHEN reverses_id IS NULL THEN NOT starts_with(idempotency_key, 'reversal:')
             ELSE idempotency_key = 'reversal:' || reverses_id::text END);

-- Balances are rewritten in place all the time: room on each page keeps the new versions beside the old.
ALTER TABLE ledger_account SET (fillfactor = 50);


CREATE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation', CONSTRAINT = 'ledger_append_only', TABLE = TG_TABLE_NAME;
END $$;

CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_journalentry
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_posting
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER ledger_append_only BEFORE DELETE OR TRUNCATE ON ledger_account
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();


CREATE FUNCTION ledger_allows_currencies(p_kind text) RETURNS boolean LANGUAGE sql IMMUTABLE
    RETURN p_kind = 'fx' OR starts_with(p_kind, 'fx_');

-- Of an entry in several currencies: whether one of them does not sum to zero.
CREATE FUNCTION ledger_is_unbalanced(p_entry_id bigint) RETURNS boolean LANGUAGE plpgsql STABLE
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM ledger_posting AS posting JOIN ledger_account AS account ON account.id = posting.account_id
        WHERE posting.entry_id = p_entry_id GROUP BY account.currency HAVING sum(posting.amount) <> 0);
END $$;


CREATE FUNCTION ledger_require_whole_entries() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp
    SET enable_seqscan = off SET enable_nestloop = off SET enable_mergejoin = off AS $$
DECLARE
    misnamed bigint;
    entry_count bigint;
    second_lines bigint;
    has_reversals boolean;
    broken bigint;
BEGIN
    -- Their sums and line numbers are checked where the postings arrive, so the second line stands for all.
    SELECT min(entry.id) FILTER (WHERE entry.recorded_xid <> pg_current_xact_id()::text::bigint), count(*),
           (SELECT count(*) FROM ledger_posting
            WHERE entry_id = ANY (ARRAY(SELECT id FROM added)) AND line_no = 2),
           bool_or(entry.reverses_id IS NOT NULL)
    INTO misnamed, entry_count, second_lines, has_reversals FROM added AS entry;
    IF misnamed IS NOT NULL THEN
        RAISE EXCEPTION 'Entry % names another transaction than the one that writes it', misnamed
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_entry_recorded_xid';
    END IF;
    IF second_lines < entry_count THEN
        RAISE EXCEPTION 'Of % entries, only % have two postings or more', entry_count, second_lines
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_entry_empty';
    END IF;
    IF has_reversals THEN
        SELECT entry.id INTO broken FROM added AS entry
        WHERE entry.reverses_id IS NOT NULL AND (
            NOT EXISTS (SELECT FROM ledger_journalentry AS first WHERE first.id = entry.reverses_id)
            OR EXISTS (
                SELECT FROM (SELECT line_no, account_id, amount FROM ledger_posting WHERE entry_id = entry.id) AS mirror
                FULL JOIN (
                    SELECT line_no, account_id, amount FROM ledger_posting WHERE entry_id = entry.reverses_id) AS first
                    USING (line_no, account_id)
                WHERE mirror.amount IS DISTINCT FROM -first.amount))
        LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'Entry % is not the mirror image of the entry it reverses', broken
                USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_reversal_mirrors';
        END IF;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER ledger_entry_rules AFTER INSERT ON ledger_journalentry REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_require_whole_entries();


CREATE FUNCTION ledger_require_sound_postings() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp
    SET enable_seqscan = off SET enable_nestloop = off SET enable_mergejoin = off SET enable_bitmapscan = off AS $$
DECLARE
    broken record;
BEGIN
    -- Line numbers from 1 without a gap: a later statement could only begin at 1 again, which the primary key refuses.
    SELECT sums.entry_id, sums.currency,
           CASE WHEN entry.id IS NULL OR sums.first_line <> 1 OR sums.last_line <> sums.line_count
                    THEN 'ledger_entry_sealed'
                WHEN sums.unknown THEN 'ledger_account_unknown'
                WHEN sums.closed THEN 'ledger_account_closed'
                WHEN sums.currency <> sums.last_currency AND NOT ledger_allows_currencies(entry.kind)
                    THEN 'ledger_entry_currency'
                WHEN sums.out_of_chain THEN 'ledger_balance_chain'
                ELSE 'ledger_entry_balanced' END AS rule
    INTO broken
    FROM (
        SELECT posting.entry_id, count(*) AS line_count, min(posting.line_no) AS first_line,
               max(posting.line_no) AS last_line, sum(posting.amount) AS net,
               min(account.currency) AS currency, max(account.currency) AS last_currency,
               bool_or(account.id IS NULL) AS unknown, bool_or(account.closed_at IS NOT NULL) AS closed,
               -- Up to an account's version its chain is proved where the account is updated; beyond it nothing may lie.
               bool_or(CASE WHEN account.keeps_balance
                       THEN posting.account_version IS NULL OR posting.account_version > account.version
                       ELSE posting.account_version IS NOT NULL END) AS out_of_chain
        FROM added AS posting
        LEFT JOIN (
            SELECT id, currency, closed_at, keeps_balance, version FROM ledger_account
            WHERE id = ANY (ARRAY(SELECT account_id FROM added)) OFFSET 0
        ) AS account ON account.id = posting.account_id
        GROUP BY posting.entry_id
    ) AS sums
    LEFT JOIN (
        SELECT id, kind FROM ledger_journalentry
        WHERE id = ANY (ARRAY(SELECT entry_id FROM added)) AND recorded_xid = pg_current_xact_id()::text::bigint OFFSET 0
    ) AS entry ON entry.id = sums.entry_id
    WHERE entry.id IS NULL OR sums.first_line <> 1 OR sums.last_line <> sums.line_count OR sums.unknown OR sums.closed
       OR sums.out_of_chain
       OR CASE WHEN sums.currency = sums.last_currency THEN sums.net <> 0
               ELSE NOT ledger_allows_currencies(entry.kind) OR ledger_is_unbalanced(sums.entry_id) END
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'The postings of entry % are refused: % (%)', broken.entry_id, broken.rule, broken.currency
            USING ERRCODE = 'check_violation', CONSTRAINT = broken.rule;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER ledger_posting_rules AFTER INSERT ON ledger_posting REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_require_sound_postings();


CREATE FUNCTION ledger_require_fixed_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'Account % changes by its postings only', OLD.id
        USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_account_fixed';
END $$;

-- Only of a statement that names one of these columns is the condition asked: no posting does.
CREATE TRIGGER ledger_account_fixed
    AFTER UPDATE OF id, code, kind, currency, normal_side, customer_key, floor, keeps_balance, closed_at ON ledger_account
    FOR EACH ROW WHEN (
        (OLD.id, OLD.code, OLD.kind, OLD.currency, OLD.normal_side, OLD.customer_key, OLD.floor, OLD.keeps_balance)
        IS DISTINCT FROM
        (NEW.id, NEW.code, NEW.kind, NEW.currency, NEW.normal_side, NEW.customer_key, NEW.floor, NEW.keeps_balance)
        OR (OLD.closed_at IS NOT NULL AND NEW.closed_at IS DISTINCT FROM OLD.closed_at))
    EXECUTE FUNCTION ledger_require_fixed_account();


-- From where an account stood to where it stands lie its new postings, one for each version, each continuing where the one
-- before it ended. As no posting may lie beyond its account's version, the chain has never been broken before.
CREATE FUNCTION ledger_require_balance_chain() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp
    SET enable_seqscan = off SET enable_nestloop = off SET enable_mergejoin = off SET enable_bitmapscan = off AS $$
DECLARE
    broken bigint;
    has_longer boolean;
BEGIN
    -- No step, or one, as nearly every account of nearly every statement makes: nothing has to be put in order.
    SELECT min(was.id) FILTER (
               WHERE CASE now.version - was.version
                     WHEN 0 THEN now.balance <> was.balance
                     WHEN 1 THEN (posting.balance_after = now.balance
                                  AND posting.balance_after = was.balance + posting.change) IS NOT TRUE
                     ELSE now.version < was.version END),
           bool_or(now.version > was.version + 1)
    INTO broken, has_longer
    FROM before AS was JOIN after AS now ON now.id = was.id
    -- One search of the index for each account, whatever the planner believes.
    LEFT JOIN LATERAL (
        SELECT balance_after, CASE now.normal_side WHEN 'D' THEN amount ELSE -amount END AS change FROM ledger_posting
        WHERE account_id = was.id AND account_version = now.version AND now.version = was.version + 1 OFFSET 0
    ) AS posting ON true;
    IF broken IS NULL AND has_longer THEN
        SELECT step.id INTO broken
        FROM (
            SELECT was.id, now.version, now.balance,
                   posting.account_version, posting.balance_after,
                   CASE now.normal_side WHEN 'D' THEN posting.amount ELSE -posting.amount END AS change,
                   lag(posting.account_version, 1, was.version) OVER chain AS version_before,
                   lag(posting.balance_after, 1, was.balance) OVER chain AS balance_before,
                   lead(posting.account_version) OVER chain IS NULL AS is_last
            FROM before AS was JOIN after AS now ON now.id = was.id
            LEFT JOIN LATERAL (
                SELECT account_version, balance_after, amount FROM ledger_posting
                WHERE account_id = was.id AND account_version > was.version AND account_version <= now.version OFFSET 0
            ) AS posting ON true
            WHERE now.version > was.version + 1
            WINDOW chain AS (PARTITION BY was.id ORDER BY posting.account_version)
        ) AS step
        WHERE step.account_version IS NULL
           OR step.account_version <> step.version_before + 1
           OR step.balance_after <> step.balance_before + step.change
           OR (step.is_last AND (step.account_version, step.balance_after) <> (step.version, step.balance))
        LIMIT 1;
    END IF;
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION 'The postings of account % do not lead to where it stands', broken
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_balance_chain';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER ledger_balance_chain AFTER UPDATE ON ledger_account
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_require_balance_chain();


CREATE FUNCTION ledger_require_empty_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'Account % must open empty', NEW.code
        USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_account_fixed';
END $$;

CREATE TRIGGER ledger_account_opens_empty BEFORE INSERT ON ledger_account
    FOR EACH ROW WHEN (NEW.balance <> 0 OR NEW.version <> 0 OR NEW.closed_at IS NOT NULL)
    EXECUTE FUNCTION ledger_require_empty_account();
