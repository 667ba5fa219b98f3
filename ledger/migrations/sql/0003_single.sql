-- Posting one entry: ledger_post_entry answers what ledger_post_entries would for the same entry alone.
--
-- Nearly every entry is plain: a few lines, one currency, open accounts that hold enough, an open period, a new key. For such
-- a one the set-based statements cost far more than its rows, and the short way below needs three: lock the accounts, lowest id
-- first; read the system accounts; write entry, postings and balances, which the triggers judge as they judge a batch.
-- Whatever is not plain, or turns out not to be when it is written, has changed nothing yet and goes the long way, as a batch
-- of one: only there is said what an entry is refused for, which rule comes first, and what a repeat answers.

CREATE FUNCTION ledger_post_entry(p_entry jsonb, p_recorded_at timestamptz)
RETURNS TABLE (place integer, entry_id bigint, created boolean, rule text, about text) LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
    SET jit = off AS $$
#variable_conflict use_column
DECLARE
    key text := p_entry ->> 'idempotency_key';
    effective_from timestamptz := p_entry ->> 'effective_at';
    bodies jsonb := p_entry -> 'lines';
    line_count integer := jsonb_array_length(bodies);
    lines_left integer := line_count;
    net numeric := 0;
    account record;
    first_currency text;
    xid bigint;
    -- Of each line; the last two stay null where the account keeps no balance.
    codes text[];
    amounts numeric[];
    account_ids bigint[];
    balances_after numeric[];
    account_versions bigint[];
    -- Of each account that keeps a balance: where the entry leaves it.
    moved_ids bigint[];
    moved_balances numeric[];
    moved_versions bigint[];
BEGIN
    <<short_way>>
    BEGIN
        EXIT short_way WHEN (line_count BETWEEN 2 AND 20) IS NOT TRUE;
        account_ids := array_fill(NULL::bigint, ARRAY[line_count]);
        balances_after := array_fill(NULL::numeric, ARRAY[line_count]);
        account_versions := account_ids;
        FOR i IN 1..line_count LOOP
            codes[i] := bodies -> (i - 1) ->> 0;
            amounts[i] := bodies -> (i - 1) ->> 1;
            net := net + amounts[i];
            EXIT short_way WHEN (abs(amounts[i]) > 0 AND abs(amounts[i]) < 1e26 AND scale(amounts[i]) <= 12) IS NOT TRUE;
        END LOOP;
        EXIT short_way WHEN net <> 0;

        -- As ledger_closed_before does, and before any account, so that who waits for a closing holds nobody up.
        LOCK TABLE ledger_periodclosing IN ROW SHARE MODE;
        FOR account IN
            SELECT id, code, currency, normal_side, floor, closed_at, balance, version FROM ledger_account
            WHERE code = ANY (codes) AND keeps_balance ORDER BY id FOR NO KEY UPDATE
        LOOP
            first_currency := coalesce(first_currency, account.currency);
            EXIT short_way WHEN account.closed_at IS NOT NULL OR account.currency <> first_currency;
            FOR i IN 1..line_count LOOP
                CONTINUE WHEN codes[i] IS DISTINCT FROM account.code;
                account.balance := account.balance + CASE account.normal_side WHEN 'D' THEN amounts[i] ELSE -amounts[i] END;
                account.version := account.version + 1;
                account_ids[i] := account.id;
                balances_after[i] := account.balance;
                account_versions[i] := account.version;
                lines_left := lines_left - 1;
            END LOOP;
            EXIT short_way WHEN account.balance < account.floor;
            moved_ids := moved_ids || account.id;
            moved_balances := moved_balances || account.balance;
            moved_versions := moved_versions || account.version;
        END LOOP;
        IF lines_left > 0 THEN
            FOR account IN SELECT id, code, currency FROM ledger_account WHERE code = ANY (codes) AND NOT keeps_balance LOOP
                first_currency := coalesce(first_currency, account.currency);
                EXIT short_way WHEN account.currency <> first_currency;
                FOR i IN 1..line_count LOOP
                    CONTINUE WHEN codes[i] IS DISTINCT FROM account.code;
                    account_ids[i] := account.id;
                    lines_left := lines_left - 1;
                END LOOP;
            END LOOP;
        END IF;
        EXIT short_way WHEN lines_left > 0;

        -- Before the id is drawn: who drew an id earlier has the lower number, or is none of the snapshots' concern.
        xid := pg_current_xact_id()::text::bigint;
        WITH entry AS (
            INSERT INTO ledger_journalentry (idempotency_key, kind, memo, effective_at, recorded_at, actor, cause, body_digest,
                                             reverses_id, recorded_xid)
            SELECT key, p_entry ->> 'kind', p_entry ->> 'memo', effective_from, p_recorded_at, p_entry ->> 'actor',
                   nullif(p_entry -> 'cause', 'null'), (p_entry ->> 'body_digest')::bytea,
                   (p_entry ->> 'reverses_id')::bigint, xid
            WHERE NOT EXISTS (SELECT FROM ledger_journalentry WHERE idempotency_key = key)
              AND effective_from >= coalesce(
                  (SELECT closed_before FROM ledger_periodclosing ORDER BY id DESC LIMIT 1), '-infinity')
              AND p_recorded_at >= coalesce((SELECT sealed_at FROM ledger_seal ORDER BY number DESC LIMIT 1), '-infinity')
            -- Another session that has just posted the key is waited for; if it commits, nothing is written here.
            ON CONFLICT (idempotency_key) DO NOTHING RETURNING id
        ), write_postings AS (
            INSERT INTO ledger_posting (entry_id, line_no, account_id, amount, balance_after, account_version)
            SELECT entry.id, line.line_no, line.account_id, line.amount, line.balance_after, line.account_version
            FROM entry, unnest(account_ids, amounts, balances_after, account_versions)
                WITH ORDINALITY AS line (account_id, amount, balance_after, account_version, line_no)
        ), write_balances AS (
            UPDATE ledger_account AS account SET balance = moved.balance, version = moved.version
            FROM entry, unnest(moved_ids, moved_balances, moved_versions) AS moved (id, balance, version)
            WHERE account.id = moved.id
        )
        SELECT 1, entry.id, true INTO place, entry_id, created FROM entry;
        IF FOUND THEN
            RETURN NEXT;
            RETURN;
        END IF;
    END;
    RETURN QUERY SELECT * FROM ledger_post_entries(jsonb_build_array(p_entry), p_recorded_at);
END $$;


-- EXECUTE is granted to the application's role after every migration (config/privileges.py).
REVOKE ALL ON FUNCTION ledger_post_entry FROM PUBLIC;
