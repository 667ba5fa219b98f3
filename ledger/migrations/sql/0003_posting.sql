-- The only way into the journal. The application's role cannot write the ledger's tables; it may execute
-- ledger_open_accounts, ledger_post_entry (0003_single.sql), ledger_post_entries, ledger_reverse_entry and ledger_close_account,
-- which run as the owner.
--
-- ledger_post_entries takes many drafts in one call. ledger_write_all writes them at once, or nothing: it locks the accounts
-- that keep a balance, in id order, and looks for what an ordinary batch may run into. If it finds something, or if a rule
-- refuses what it wrote, ledger_post_closely judges draft by draft and has the accepted ones written. A refused draft changes
-- nothing, and the drafts after it are judged as if it had not been there: the same as posting them one by one.

-- The cause of a late fact that takes effect at the start of the open period: also when it happened, as Python's
-- canonical_instant writes it.
CREATE FUNCTION ledger_moved_cause(p_cause jsonb, p_occurred_at timestamptz) RETURNS jsonb LANGUAGE sql STABLE
    RETURN p_cause || jsonb_build_object(
        'occurred_at', to_char(p_occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'));


-- Write all the entries, in one statement (the triggers look at its end, when everything is there), and answer their ids in
-- order. Or write nothing and answer NULL: a key is used, twice or already; an account is unknown, closed or would pass its
-- floor; an amount does not fit; a period is closed. Whether an entry balances is left to the rules.
--
-- System accounts are only read, so that they hold nobody up. The statement sees accounts as they are once it has their locks,
-- and keys as they were when it began: one that came in between breaks the unique key, and the caller begins again.
CREATE FUNCTION ledger_write_all(p_entries jsonb, p_recorded_at timestamptz, p_closed_before timestamptz)
RETURNS bigint[] LANGUAGE plpgsql
    SET enable_nestloop = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    -- Before an id is drawn: snapshots rest on that order (sql/0005_snapshots.sql).
    xid bigint := pg_current_xact_id()::text::bigint;
    ids bigint[];
BEGIN
    WITH draft AS MATERIALIZED (
        SELECT place, body ->> 'idempotency_key' AS idempotency_key, body ->> 'kind' AS kind, body ->> 'memo' AS memo,
               (body ->> 'effective_at')::timestamptz AS effective_at, body ->> 'actor' AS actor,
               nullif(body -> 'cause', 'null') AS cause,
               (body ->> 'body_digest')::bytea AS body_digest, (body ->> 'reverses_id')::bigint AS reverses_id,
               (body ->> 'moves_to_open_period')::boolean AS moves, body -> 'lines' AS lines
        FROM jsonb_array_elements(p_entries) WITH ORDINALITY AS entry (body, place)
    ), asked AS MATERIALIZED (
        SELECT draft.place, line.line_no, line.body ->> 0 AS account_code, (line.body ->> 1)::numeric AS amount
        FROM draft CROSS JOIN jsonb_array_elements(draft.lines) WITH ORDINALITY AS line (body, line_no)
    ), code AS MATERIALIZED (
        SELECT DISTINCT account_code FROM asked
    ), locked AS MATERIALIZED (
        SELECT * FROM ledger_account WHERE code = ANY (ARRAY(SELECT account_code FROM code)) AND keeps_balance
        ORDER BY id FOR NO KEY UPDATE
    ), account AS MATERIALIZED (
        SELECT * FROM locked
        UNION ALL
        SELECT * FROM ledger_account
        WHERE code = ANY (ARRAY(SELECT account_code FROM code EXCEPT SELECT code FROM locked)) AND NOT keeps_balance
    ), line AS MATERIALIZED (
        SELECT asked.place, asked.line_no, asked.amount, account.id AS account_id, account.keeps_balance, account.floor,
               account.balance + sum(CASE account.normal_side WHEN 'D' THEN asked.amount ELSE -asked.amount END)
                   OVER chain AS balance_after,
               account.version + row_number() OVER chain AS account_version,
               lead(asked.place) OVER chain AS next_place,
               account.id IS NOT NULL AND account.closed_at IS NULL AND ledger_amount_fits(asked.amount) AS is_sound
        FROM asked LEFT JOIN account ON account.code = asked.account_code
        WINDOW chain AS (PARTITION BY account.id ORDER BY asked.place, asked.line_no ROWS UNBOUNDED PRECEDING)
    ), drawn AS MATERIALIZED (
        -- Under the locks: within an account, ids rise as versions do.
        SELECT ARRAY(SELECT nextval('ledger_journalentry_id_seq') FROM draft) AS ids
        WHERE NOT EXISTS (SELECT FROM line WHERE NOT is_sound OR (balance_after < floor AND place IS DISTINCT FROM next_place))
          AND NOT EXISTS (SELECT FROM draft WHERE effective_at < p_closed_before AND moves IS NOT TRUE)
          AND NOT EXISTS (SELECT FROM draft GROUP BY idempotency_key HAVING count(*) > 1)
          AND NOT EXISTS (SELECT FROM ledger_journalentry
                          WHERE idempotency_key = ANY (ARRAY(SELECT idempotency_key FROM draft)))
    ), write_entries AS (
        -- In order of key: two batches that race for the same keys wait for each other in one direction only.
        INSERT INTO ledger_journalentry (id, idempotency_key, kind, memo, effective_at, recorded_at, actor, cause,
                                         body_digest, reverses_id, recorded_xid)
        SELECT ids[place], idempotency_key, kind, memo,
               CASE WHEN effective_at < p_closed_before THEN p_closed_before ELSE effective_at END, p_recorded_at, actor,
               CASE WHEN effective_at < p_closed_before THEN ledger_moved_cause(cause, effective_at) ELSE cause END,
               body_digest, reverses_id, xid
        FROM draft CROSS JOIN drawn ORDER BY idempotency_key
    ), write_postings AS (
        INSERT INTO ledger_posting (entry_id, line_no, account_id, amount, balance_after, account_version)
        SELECT ids[place], line_no, account_id, amount, CASE WHEN keeps_balance THEN balance_after END,
               CASE WHEN keeps_balance THEN account_version END
        FROM line CROSS JOIN drawn
    ), write_balances AS (
        UPDATE ledger_account AS account SET balance = last.balance_after, version = last.account_version
        FROM line AS last
        WHERE account.id = last.account_id AND account.id = ANY (ARRAY(SELECT id FROM locked))
          AND last.next_place IS NULL AND last.keeps_balance AND EXISTS (SELECT FROM drawn)
    )
    SELECT drawn.ids INTO ids FROM drawn;
    RETURN ids;
END $$;


-- Judge draft by draft, write what was accepted, and answer for each what became of it.
CREATE FUNCTION ledger_post_closely(p_entries jsonb, p_recorded_at timestamptz, p_closed_before timestamptz)
RETURNS TABLE (place integer, entry_id bigint, created boolean, rule text, about text) LANGUAGE plpgsql
    SET enable_nestloop = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    drafts ledger_draft[] := ARRAY(
        SELECT ROW(draft.place, draft.idempotency_key, draft.kind,
                   CASE WHEN draft.moves_to_open_period THEN greatest(draft.effective_at, p_closed_before)
                        ELSE draft.effective_at END, draft.body_digest)::ledger_draft
        FROM ROWS FROM (jsonb_to_recordset(p_entries) AS (
            idempotency_key text, kind text, effective_at timestamptz, moves_to_open_period boolean, body_digest bytea
        )) WITH ORDINALITY AS draft (idempotency_key, kind, effective_at, moves_to_open_period, body_digest, place));
    lines ledger_draft_line[] := ARRAY(
        SELECT ROW(entry.place, line.body ->> 0, line.body ->> 1)::ledger_draft_line
        FROM jsonb_array_elements(p_entries) WITH ORDINALITY AS entry (body, place)
        CROSS JOIN jsonb_array_elements(entry.body -> 'lines') AS line (body));
    accounts ledger_account[] := ledger_lock_accounts(lines);
    verdicts ledger_verdict[] := ledger_judge_each(drafts, lines, accounts, p_closed_before);
    accepted integer[];
    ids bigint[];
BEGIN
    IF ledger_judge_needs_order(drafts, lines, accounts, verdicts) THEN
        verdicts := ledger_judge_in_order(drafts, lines, accounts, verdicts);
    END IF;
    accepted := ARRAY(SELECT place FROM unnest(drafts) EXCEPT SELECT place FROM unnest(verdicts) ORDER BY place);
    ids := ledger_write_all(
        (SELECT coalesce(jsonb_agg(p_entries -> (place - 1) ORDER BY place), '[]') FROM unnest(accepted) AS place),
        p_recorded_at, p_closed_before);
    IF ids IS NULL THEN
        -- Accounts and periods are held: only a key can have come in since it was judged. As if its index had said so.
        RAISE EXCEPTION 'What was accepted could not be written'
            USING ERRCODE = 'unique_violation', CONSTRAINT = 'ledger_entry_key';
    END IF;
    RETURN QUERY
        SELECT written.place, written.id, true, NULL::text, NULL::text FROM unnest(accepted, ids) AS written (place, id)
        UNION ALL
        SELECT verdict.place, coalesce(verdict.entry_id, first.id), false, verdict.rule, verdict.about
        FROM unnest(verdicts) AS verdict
        LEFT JOIN unnest(accepted, ids) AS first (place, id) ON first.place = verdict.repeats
        ORDER BY place;
END $$;


-- p_entries: [{"idempotency_key", "kind", "memo", "effective_at", "actor", "cause", "body_digest": "\\x…",
--              "moves_to_open_period": false, "lines": [["account code", "signed amount"], …]}, …].
-- One row is answered for each, in their order. body_digest is of what was asked, before anything is moved.
CREATE FUNCTION ledger_post_entries(p_entries jsonb, p_recorded_at timestamptz)
RETURNS TABLE (place integer, entry_id bigint, created boolean, rule text, about text) LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off AS $$
#variable_conflict use_column
DECLARE
    -- Held until the transaction ends: no closing comes between this look and the end of the call.
    closed_before timestamptz := ledger_closed_before();
    ids bigint[];
    closely boolean := false;
    broken text;
BEGIN
    FOR attempt IN 1..10 LOOP
        BEGIN
            IF NOT closely THEN
                ids := ledger_write_all(p_entries, p_recorded_at, closed_before);
            END IF;
            IF ids IS NULL THEN
                RETURN QUERY SELECT * FROM ledger_post_closely(p_entries, p_recorded_at, closed_before);
            ELSE
                RETURN QUERY SELECT written.place::integer, written.id, true, NULL::text, NULL::text
                    FROM unnest(ids) WITH ORDINALITY AS written (id, place);
            END IF;
            RETURN;
        EXCEPTION
            WHEN unique_violation THEN
                -- Another session posted one of the keys between our look and our write. It has committed: look again.
                GET STACKED DIAGNOSTICS broken = CONSTRAINT_NAME;
                IF broken <> 'ledger_entry_key' OR attempt = 10 THEN
                    RAISE;
                END IF;
            WHEN check_violation THEN
                GET STACKED DIAGNOSTICS broken = CONSTRAINT_NAME;
                IF broken = 'ledger_entry_before_seal' THEN
                    -- The instant is that of the call, and so is the refusal.
                    RETURN QUERY SELECT place, NULL::bigint, false, broken, p_recorded_at::text
                        FROM generate_series(1, jsonb_array_length(p_entries)) AS place;
                    RETURN;
                ELSIF closely THEN
                    RAISE;
                END IF;
                closely := true;
        END;
    END LOOP;
END $$;


-- p_reversal: as an entry of ledger_post_entries, without key, kind and lines: those are the mirrored entry's.
-- No row is answered if there is no such entry.
CREATE FUNCTION ledger_reverse_entry(p_entry_id bigint, p_reversal jsonb, p_recorded_at timestamptz)
RETURNS TABLE (place integer, entry_id bigint, created boolean, rule text, about text) LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp
BEGIN ATOMIC
    SELECT posted.place, posted.entry_id, posted.created, posted.rule, posted.about
    FROM ledger_journalentry AS first
    CROSS JOIN LATERAL (
        SELECT jsonb_agg(jsonb_build_array(account.code, (-posting.amount)::text) ORDER BY posting.line_no) AS lines
        FROM ledger_posting AS posting JOIN ledger_account AS account ON account.id = posting.account_id
        WHERE posting.entry_id = first.id
    ) AS mirror
    CROSS JOIN LATERAL ledger_post_entries(jsonb_build_array(p_reversal || jsonb_build_object(
        'idempotency_key', 'reversal:' || first.id, 'kind', first.kind, 'reverses_id', first.id, 'lines', mirror.lines
    )), p_recorded_at) AS posted
    WHERE first.id = p_entry_id;
END;


-- p_accounts: [{"code", "kind", "currency", "normal_side", "customer_key", "floor", "keeps_balance"}, …]. Opening an account
-- again is nothing; opening it as something else is refused, and then none is opened.
CREATE FUNCTION ledger_open_accounts(p_accounts jsonb) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    other text;
BEGIN
    -- In order of code, so that two sessions that open the same accounts wait in one direction only.
    INSERT INTO ledger_account (code, kind, currency, normal_side, customer_key, floor, keeps_balance, balance, version)
    SELECT spec.code, spec.kind, spec.currency, spec.normal_side, spec.customer_key, spec.floor, spec.keeps_balance, 0, 0
    FROM jsonb_populate_recordset(NULL::ledger_account, p_accounts) AS spec
    WHERE NOT EXISTS (SELECT FROM ledger_account AS account WHERE account.code = spec.code)
    ORDER BY spec.code
    ON CONFLICT (code) DO NOTHING;

    SELECT spec.code INTO other
    FROM jsonb_populate_recordset(NULL::ledger_account, p_accounts) AS spec
    LEFT JOIN ledger_account AS account ON account.code = spec.code
    WHERE (account.kind, account.currency, account.normal_side, account.customer_key, account.floor, account.keeps_balance)
          IS DISTINCT FROM
          (spec.kind, spec.currency, spec.normal_side, spec.customer_key, spec.floor, spec.keeps_balance)
    ORDER BY spec.code LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '%', other USING ERRCODE = 'unique_violation', CONSTRAINT = 'ledger_account_conflict';
    END IF;
END $$;


-- Close an account that holds nothing. False if there is none with this code; closing again keeps the first instant.
CREATE FUNCTION ledger_close_account(p_code text, p_closed_at timestamptz) RETURNS boolean LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp
BEGIN ATOMIC
    UPDATE ledger_account SET closed_at = coalesce(closed_at, p_closed_at) WHERE code = p_code RETURNING true;
END;


-- EXECUTE is granted to the application's role after every migration (config/privileges.py), on those named on top only.
REVOKE ALL ON FUNCTION ledger_refuse_change, ledger_allows_currencies, ledger_require_whole_entries,
    ledger_is_unbalanced, ledger_require_sound_postings, ledger_require_balance_chain, ledger_require_fixed_account,
    ledger_require_empty_account, ledger_moved_cause, ledger_amount_fits,
    ledger_write_all, ledger_lock_accounts, ledger_judge_each, ledger_judge_needs_order,
    ledger_judge_in_order, ledger_post_closely, ledger_post_entries, ledger_reverse_entry, ledger_open_accounts,
    ledger_close_account FROM PUBLIC;
