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
-- They are statement triggers over transition tables: one pass a batch, not one call a row. The kind of join is fixed in each
-- because a plan made in a session's first minute, on small tables, is kept for all its later batches: rows of the
-- journal are looked up one by one through an index, and two transition tables are hashed.

ALTER TABLE ledger_journalentry
    ADD CONSTRAINT ledger_entry_digest CHECK (octet_length(body_digest) = 32),
    -- The unique key then says that an entry is reversed once at most.
    ADD CONSTRAINT ledger_entry_reversal_key CHECK (
        CASE WHEN reverses_id IS NULL THEN NOT starts_with(idempotency_key, 'reversal:')
             ELSE idempotency_key = 'reversal:' || reverses_id END);

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


CREATE FUNCTION ledger_require_whole_entries() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    broken bigint;
BEGIN
    SELECT entry.id INTO broken FROM added AS entry
    WHERE entry.recorded_xid <> pg_current_xact_id()::text::bigint LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'Entry % names another transaction than the one that writes it', broken
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_entry_recorded_xid';
    END IF;

    -- Their sums and line numbers are checked where the postings arrive, so the second line stands for all.
    SELECT entry.id INTO broken FROM added AS entry
    WHERE NOT EXISTS (SELECT FROM ledger_posting AS posting WHERE posting.entry_id = entry.id AND posting.line_no = 2)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'Entry % has fewer than two postings', broken
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_entry_empty';
    END IF;

    SELECT entry.id INTO broken FROM added AS entry
    WHERE entry.reverses_id IS NOT NULL AND (
        NOT EXISTS (SELECT FROM ledger_journalentry AS first WHERE first.id = entry.reverses_id)
        OR EXISTS (
            SELECT FROM (SELECT line_no, account_id, amount FROM ledger_posting WHERE entry_id = entry.id) AS mirror
            FULL JOIN (SELECT line_no, account_id, amount FROM ledger_posting WHERE entry_id = entry.reverses_id) AS first
                USING (line_no, account_id)
            WHERE mirror.amount IS DISTINCT FROM -first.amount))
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'Entry % is not the mirror image of the entry it reverses', broken
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_reversal_mirrors';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER ledger_entry_rules AFTER INSERT ON ledger_journalentry REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_require_whole_entries();


CREATE FUNCTION ledger_require_sound_postings() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    broken record;
BEGIN
    -- Line numbers from 1 without a gap: a later statement could only begin at 1 again, which the primary key refuses.
    SELECT sums.entry_id, sums.currency,
           CASE WHEN entry.id IS NULL OR sums.first_line <> 1 OR sums.last_line <> sums.line_count
                    THEN 'ledger_entry_sealed'
                WHEN sums.unknown THEN 'ledger_account_unknown'
                WHEN sums.closed THEN 'ledger_account_closed'
                WHEN sums.currency_count > 1 AND NOT ledger_allows_currencies(entry.kind) THEN 'ledger_entry_currency'
                ELSE 'ledger_entry_balanced' END AS rule
    INTO broken
    FROM (
        SELECT entry_id, min(currency) AS currency, count(*) AS currency_count, sum(line_count) AS line_count,
               min(first_line) AS first_line, max(last_line) AS last_line, bool_or(net <> 0) AS unbalanced,
               bool_or(unknown) AS unknown, bool_or(closed) AS closed
        FROM (
            SELECT posting.entry_id, account.currency, count(*) AS line_count, min(posting.line_no) AS first_line,
                   max(posting.line_no) AS last_line, sum(posting.amount) AS net, bool_or(account.id IS NULL) AS unknown,
                   bool_or(account.closed_at IS NOT NULL) AS closed
            FROM added AS posting LEFT JOIN ledger_account AS account ON account.id = posting.account_id
            GROUP BY posting.entry_id, account.currency
        ) AS by_currency GROUP BY entry_id
    ) AS sums
    LEFT JOIN ledger_journalentry AS entry
        ON entry.id = sums.entry_id AND entry.recorded_xid = pg_current_xact_id()::text::bigint
    WHERE entry.id IS NULL OR sums.first_line <> 1 OR sums.last_line <> sums.line_count OR sums.unknown OR sums.closed
       OR sums.unbalanced OR (sums.currency_count > 1 AND NOT ledger_allows_currencies(entry.kind))
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'The postings of entry % are refused: % (%)', broken.entry_id, broken.rule, broken.currency
            USING ERRCODE = 'check_violation', CONSTRAINT = broken.rule;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER ledger_posting_rules AFTER INSERT ON ledger_posting REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_require_sound_postings();


-- Each new posting of an account continues where the one before it ended, and the last one is where the account stands.
CREATE FUNCTION ledger_require_balance_chain() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    broken record;
BEGIN
    SELECT step.entry_id, step.account_id INTO broken
    FROM (
        SELECT posting.entry_id, posting.account_id, account.keeps_balance, account.balance, account.version,
               posting.account_version, posting.balance_after,
               CASE account.normal_side WHEN 'D' THEN posting.amount ELSE -posting.amount END AS change,
               lag(posting.account_version) OVER chain AS version_before,
               lag(posting.balance_after) OVER chain AS balance_before,
               lead(posting.account_version) OVER chain IS NULL AS is_last
        FROM added AS posting JOIN ledger_account AS account ON account.id = posting.account_id
        WINDOW chain AS (PARTITION BY posting.account_id ORDER BY posting.account_version)
    ) AS step
    LEFT JOIN ledger_posting AS earlier
        ON step.version_before IS NULL
       AND earlier.account_id = step.account_id AND earlier.account_version = step.account_version - 1
    WHERE CASE WHEN step.keeps_balance THEN
               step.account_version IS NULL
               OR step.account_version <> coalesce(step.version_before, earlier.account_version, 0) + 1
               OR step.balance_after <> coalesce(step.balance_before, earlier.balance_after, 0) + step.change
               OR (step.is_last AND (step.account_version, step.balance_after) <> (step.version, step.balance))
          ELSE step.account_version IS NOT NULL END
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'Entry % breaks the chain of balances of account %', broken.entry_id, broken.account_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_balance_chain';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER ledger_balance_chain AFTER INSERT ON ledger_posting REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_require_balance_chain();


CREATE FUNCTION ledger_require_fixed_accounts() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp
    SET enable_seqscan = off SET enable_nestloop = off SET enable_mergejoin = off AS $$
DECLARE
    broken record;
BEGIN
    -- Every old row finds its new one unless something else than balance, version or a first closing changed.
    SELECT was.id, now.id IS NULL AS changed INTO broken
    FROM before AS was
    LEFT JOIN after AS now
        ON now.id = was.id AND now.code = was.code AND now.kind = was.kind AND now.currency = was.currency
       AND now.normal_side = was.normal_side AND now.customer_key IS NOT DISTINCT FROM was.customer_key
       AND now.floor IS NOT DISTINCT FROM was.floor AND now.keeps_balance = was.keeps_balance
       AND (was.closed_at IS NULL OR now.closed_at IS NOT DISTINCT FROM was.closed_at)
    WHERE now.id IS NULL
       OR ((now.balance, now.version) <> (was.balance, was.version)
           AND (now.version <= was.version OR now.balance IS DISTINCT FROM (
               SELECT posting.balance_after FROM ledger_posting AS posting
               WHERE posting.account_id = now.id AND posting.account_version = now.version)))
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'Account % changes by its postings only', broken.id
            USING ERRCODE = 'check_violation',
                  CONSTRAINT = CASE WHEN broken.changed THEN 'ledger_account_fixed' ELSE 'ledger_balance_chain' END;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER ledger_account_fixed AFTER UPDATE ON ledger_account
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_require_fixed_accounts();


CREATE FUNCTION ledger_require_empty_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'Account % must open empty', NEW.code
        USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_account_fixed';
END $$;

CREATE TRIGGER ledger_account_opens_empty BEFORE INSERT ON ledger_account
    FOR EACH ROW WHEN (NEW.balance <> 0 OR NEW.version <> 0 OR NEW.closed_at IS NOT NULL)
    EXECUTE FUNCTION ledger_require_empty_account();
