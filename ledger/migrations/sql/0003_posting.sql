-- The only way into the journal. The application's role cannot write the ledger's tables; it may execute
-- ledger_open_accounts, ledger_post_entries, ledger_reverse_entry and ledger_close_account, which run as the owner.
--
-- ledger_post_entries takes many drafts in one call and works on all of them at once: lock the accounts that keep a
-- balance, in id order; judge every draft; write the accepted ones and each account once. A refused draft changes nothing,
-- and the drafts after it are judged as if it had not been there: the same as posting them one by one.

CREATE TYPE ledger_draft AS (
    place integer, idempotency_key text, kind text, memo text, effective_at timestamptz, actor text, cause jsonb,
    body_digest bytea, reverses_id bigint);
CREATE TYPE ledger_draft_line AS (place integer, line_no smallint, account_code text, amount numeric);
-- Why a draft is not written. entry_id: its key already posted that. repeats: the place of the draft in the same batch that
-- it repeats. rule: it is refused. A draft that is written has no verdict, so that an ordinary batch carries none.
CREATE TYPE ledger_verdict AS (place integer, entry_id bigint, repeats integer, rule text, about text);


-- Every account the lines name. Those that keep a balance are locked, lowest id first, so that two batches never wait
-- for each other; system accounts are only read, so that they hold nobody up.
CREATE FUNCTION ledger_lock_accounts(p_lines ledger_draft_line[]) RETURNS ledger_account[] LANGUAGE plpgsql
    SET enable_seqscan = off AS $$
DECLARE
    codes text[] := ARRAY(SELECT DISTINCT account_code FROM unnest(p_lines));
    accounts ledger_account[] := ARRAY(
        SELECT locked::ledger_account FROM (
            SELECT * FROM ledger_account WHERE code = ANY (codes) AND keeps_balance ORDER BY id FOR NO KEY UPDATE
        ) AS locked);
BEGIN
    IF cardinality(accounts) < cardinality(codes) THEN
        codes := ARRAY(SELECT unnest(codes) EXCEPT SELECT code FROM unnest(accounts));
        accounts := accounts || ARRAY(
            SELECT system FROM ledger_account AS system WHERE code = ANY (codes) AND NOT keeps_balance);
    END IF;
    RETURN accounts;
END $$;


-- What each draft is on its own: a repeat, a key used for another body, ill formed, or (no verdict) fit to post.
CREATE FUNCTION ledger_judge_each(p_drafts ledger_draft[], p_lines ledger_draft_line[], p_accounts ledger_account[])
RETURNS ledger_verdict[] LANGUAGE plpgsql
    SET enable_nestloop = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    keys text[] := ARRAY(SELECT idempotency_key FROM unnest(p_drafts));
    closed_before timestamptz := ledger_closed_before();
BEGIN
    RETURN ARRAY(
        WITH known AS MATERIALIZED (
            SELECT id, idempotency_key, body_digest FROM ledger_journalentry WHERE idempotency_key = ANY (keys)
        ), by_currency AS (
            SELECT line.place, account.currency, count(*) AS line_count, sum(line.amount) AS net,
                   min(coalesce(line.account_code, '')) FILTER (WHERE account.id IS NULL) AS unknown,
                   min(line.account_code) FILTER (WHERE account.closed_at IS NOT NULL) AS closed,
                   min(coalesce(line.account_code, '')) FILTER (
                       WHERE (abs(line.amount) > 0 AND abs(line.amount) < 1e26
                              AND scale(trim_scale(line.amount)) <= 12) IS NOT TRUE) AS ill_amount
            FROM unnest(p_lines) AS line LEFT JOIN unnest(p_accounts) AS account ON account.code = line.account_code
            GROUP BY line.place, account.currency
        ), shape AS (
            SELECT place, sum(line_count) AS line_count, count(*) AS currency_count, min(unknown) AS unknown,
                   min(closed) AS closed, min(ill_amount) AS ill_amount,
                   min(currency) FILTER (WHERE net <> 0) AS unbalanced,
                   string_agg(currency, ', ' ORDER BY currency) AS currencies
            FROM by_currency GROUP BY place
        ), judged AS (
            SELECT draft.place, draft.idempotency_key, known.id AS known_id, shape.unknown, shape.closed, shape.ill_amount,
                   shape.currencies, shape.unbalanced,
                   CASE WHEN known.body_digest = draft.body_digest THEN NULL
                        WHEN known.id IS NOT NULL THEN 'ledger_key_reused'
                        WHEN coalesce(shape.line_count, 0) < 2 THEN 'ledger_entry_empty'
                        WHEN shape.ill_amount IS NOT NULL THEN 'ledger_posting_amount'
                        WHEN shape.unknown IS NOT NULL THEN 'ledger_account_unknown'
                        WHEN shape.closed IS NOT NULL THEN 'ledger_account_closed'
                        WHEN shape.currency_count > 1 AND NOT ledger_allows_currencies(draft.kind)
                            THEN 'ledger_entry_currency'
                        WHEN shape.unbalanced IS NOT NULL THEN 'ledger_entry_balanced'
                        WHEN draft.effective_at < closed_before THEN 'ledger_period_closed' END AS rule
            FROM unnest(p_drafts) AS draft
            LEFT JOIN shape ON shape.place = draft.place
            LEFT JOIN known ON known.idempotency_key = draft.idempotency_key
        )
        SELECT ROW(place, CASE WHEN rule IS NULL THEN known_id END, NULL, rule,
                   CASE rule WHEN 'ledger_key_reused' THEN idempotency_key WHEN 'ledger_posting_amount' THEN ill_amount
                             WHEN 'ledger_account_unknown' THEN unknown WHEN 'ledger_account_closed' THEN closed
                             WHEN 'ledger_entry_currency' THEN currencies WHEN 'ledger_entry_balanced' THEN unbalanced
                             WHEN 'ledger_period_closed' THEN closed_before::date::text
                   END)::ledger_verdict
        FROM judged WHERE rule IS NOT NULL OR known_id IS NOT NULL
    );
END $$;


-- Whether the drafts have to be judged one after another: two share a key, or all together would pass a floor.
CREATE FUNCTION ledger_judge_needs_order(
    p_drafts ledger_draft[], p_lines ledger_draft_line[], p_accounts ledger_account[], p_verdicts ledger_verdict[])
RETURNS boolean LANGUAGE plpgsql SET enable_nestloop = off SET enable_mergejoin = off AS $$
BEGIN
    IF cardinality(p_drafts) > 1
       AND (SELECT count(DISTINCT idempotency_key) FROM unnest(p_drafts)) < cardinality(p_drafts) THEN
        RETURN true;
    END IF;
    IF NOT EXISTS (SELECT FROM unnest(p_accounts) AS account WHERE account.floor IS NOT NULL) THEN
        RETURN false;
    END IF;
    RETURN EXISTS (
        SELECT FROM (
            SELECT movement.floor, movement.balance + sum(movement.change) OVER (
                       PARTITION BY movement.id ORDER BY movement.place ROWS UNBOUNDED PRECEDING) AS balance_after
            FROM (
                SELECT line.place, account.id, account.balance, account.floor,
                       sum(CASE account.normal_side WHEN 'D' THEN line.amount ELSE -line.amount END) AS change
                FROM unnest(p_lines) AS line
                JOIN unnest(p_accounts) AS account ON account.code = line.account_code
                LEFT JOIN unnest(p_verdicts) AS verdict ON verdict.place = line.place
                WHERE account.floor IS NOT NULL AND verdict.place IS NULL
                GROUP BY line.place, account.id, account.balance, account.floor
            ) AS movement
        ) AS step
        WHERE step.balance_after < step.floor
    );
END $$;


-- Judge the drafts in their order: a repeat of one accepted just before, and every floor after every entry.
CREATE FUNCTION ledger_judge_in_order(
    p_drafts ledger_draft[], p_lines ledger_draft_line[], p_accounts ledger_account[], p_verdicts ledger_verdict[])
RETURNS ledger_verdict[] LANGUAGE plpgsql SET enable_nestloop = off SET enable_mergejoin = off AS $$
DECLARE
    verdicts ledger_verdict[] := '{}';
    held numeric[] := ARRAY(SELECT balance FROM unnest(p_accounts));
    floors numeric[] := ARRAY(SELECT floor FROM unnest(p_accounts));
    first_by_key integer[] := array_fill(NULL::integer, ARRAY[greatest(cardinality(p_drafts), 1)]);
    digests bytea[] := ARRAY(SELECT body_digest FROM unnest(p_drafts) ORDER BY place);
    draft record;
    first_place integer;
    breaks integer;
BEGIN
    FOR draft IN
        SELECT d.place, d.idempotency_key, d.body_digest, verdict.entry_id, verdict.rule, verdict.about,
               min(d.place) OVER (PARTITION BY d.idempotency_key) AS key_no, movement.accounts, movement.changes
        FROM unnest(p_drafts) AS d
        LEFT JOIN unnest(p_verdicts) AS verdict ON verdict.place = d.place
        LEFT JOIN (
            SELECT net.place, array_agg(net.account_no) AS accounts, array_agg(net.change) AS changes
            FROM (
                SELECT line.place, account.account_no,
                       sum(CASE account.normal_side WHEN 'D' THEN line.amount ELSE -line.amount END) AS change
                FROM unnest(p_lines) AS line
                JOIN (SELECT row_number() OVER () AS account_no, code, normal_side FROM unnest(p_accounts)) AS account
                    ON account.code = line.account_code
                GROUP BY line.place, account.account_no
            ) AS net GROUP BY net.place
        ) AS movement ON movement.place = d.place
        ORDER BY d.place
    LOOP
        first_place := first_by_key[draft.key_no];
        IF draft.entry_id IS NOT NULL OR draft.rule = 'ledger_key_reused'
           OR (draft.rule IS NOT NULL AND first_place IS NULL) THEN
            verdicts := verdicts || ROW(draft.place, draft.entry_id, NULL, draft.rule, draft.about)::ledger_verdict;
        ELSIF digests[first_place] = draft.body_digest THEN
            verdicts := verdicts || ROW(draft.place, NULL, first_place, NULL, NULL)::ledger_verdict;
        ELSIF first_place IS NOT NULL THEN
            verdicts := verdicts
                || ROW(draft.place, NULL, NULL, 'ledger_key_reused', draft.idempotency_key)::ledger_verdict;
        ELSE
            breaks := NULL;
            FOR i IN 1..cardinality(draft.accounts) LOOP
                IF held[draft.accounts[i]] + draft.changes[i] < floors[draft.accounts[i]] THEN
                    breaks := draft.accounts[i];
                END IF;
            END LOOP;
            IF breaks IS NOT NULL THEN
                verdicts := verdicts
                    || ROW(draft.place, NULL, NULL, 'ledger_account_floor', p_accounts[breaks].code)::ledger_verdict;
            ELSE
                first_by_key[draft.key_no] := draft.place;
                FOR i IN 1..cardinality(draft.accounts) LOOP
                    held[draft.accounts[i]] := held[draft.accounts[i]] + draft.changes[i];
                END LOOP;
            END IF;
        END IF;
    END LOOP;
    RETURN verdicts;
END $$;


-- Write what was accepted, all of it in one statement: the triggers look at its end, when everything is there.
CREATE FUNCTION ledger_write_accepted(
    p_drafts ledger_draft[], p_lines ledger_draft_line[], p_accounts ledger_account[], p_verdicts ledger_verdict[],
    p_recorded_at timestamptz)
RETURNS TABLE (place integer, entry_id bigint, created boolean, rule text, about text) LANGUAGE plpgsql
    SET enable_nestloop = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    account_ids bigint[] := ARRAY(SELECT id FROM unnest(p_accounts) WHERE keeps_balance);
    xid bigint := pg_current_xact_id()::text::bigint;
BEGIN
    RETURN QUERY
    WITH entry AS MATERIALIZED (
        -- Drawn under the locks and in order of place: within an account, ids rise as versions do.
        SELECT nextval('ledger_journalentry_id_seq') AS id, accepted.* FROM (
            SELECT draft.* FROM unnest(p_drafts) AS draft LEFT JOIN unnest(p_verdicts) AS verdict USING (place)
            WHERE verdict.place IS NULL ORDER BY place
        ) AS accepted
    ), line AS MATERIALIZED (
        SELECT entry.id AS entry_id, line.line_no, account.id AS account_id, account.keeps_balance, line.amount,
               account.balance + sum(CASE account.normal_side WHEN 'D' THEN line.amount ELSE -line.amount END)
                   OVER chain AS balance_after,
               account.version + row_number() OVER chain AS account_version,
               lead(line.place) OVER chain IS NULL AS is_last
        FROM entry JOIN unnest(p_lines) AS line USING (place)
        JOIN unnest(p_accounts) AS account ON account.code = line.account_code
        WINDOW chain AS (PARTITION BY account.id ORDER BY entry.id, line.line_no ROWS UNBOUNDED PRECEDING)
    ), write_entries AS (
        -- In order of key: two batches that race for the same keys wait for each other in one direction only.
        INSERT INTO ledger_journalentry (id, idempotency_key, kind, memo, effective_at, recorded_at, actor, cause,
                                         body_digest, reverses_id, recorded_xid)
        SELECT id, idempotency_key, kind, memo, effective_at, p_recorded_at, actor, cause, body_digest, reverses_id, xid
        FROM entry ORDER BY idempotency_key
    ), write_postings AS (
        INSERT INTO ledger_posting (entry_id, line_no, account_id, amount, balance_after, account_version)
        SELECT entry_id, line_no, account_id, amount, CASE WHEN keeps_balance THEN balance_after END,
               CASE WHEN keeps_balance THEN account_version END
        FROM line ORDER BY entry_id, line_no
    ), write_balances AS (
        UPDATE ledger_account AS account SET balance = last.balance_after, version = last.account_version
        FROM line AS last
        WHERE account.id = last.account_id AND account.id = ANY (account_ids) AND last.is_last AND last.keeps_balance
    )
    SELECT entry.place, entry.id, true, NULL, NULL FROM entry
    UNION ALL
    SELECT verdict.place, coalesce(verdict.entry_id, first.id), false, verdict.rule, verdict.about
    FROM unnest(p_verdicts) AS verdict LEFT JOIN entry AS first ON first.place = verdict.repeats
    ORDER BY place;
END $$;


-- p_entries: [{"idempotency_key", "kind", "memo", "effective_at", "actor", "cause", "body_digest": "\\x…",
--              "lines": [["account code", "signed amount"], …]}, …]. One row is answered for each, in their order.
CREATE FUNCTION ledger_post_entries(p_entries jsonb, p_recorded_at timestamptz)
RETURNS TABLE (place integer, entry_id bigint, created boolean, rule text, about text) LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off AS $$
#variable_conflict use_column
DECLARE
    drafts ledger_draft[] := ARRAY(
        SELECT ROW(draft.place, draft.idempotency_key, draft.kind, draft.memo, draft.effective_at, draft.actor,
                   draft.cause, draft.body_digest, draft.reverses_id)::ledger_draft
        FROM ROWS FROM (jsonb_to_recordset(p_entries) AS (
            idempotency_key text, kind text, memo text, effective_at timestamptz, actor text, cause jsonb,
            body_digest bytea, reverses_id bigint)) WITH ORDINALITY AS draft (
            idempotency_key, kind, memo, effective_at, actor, cause, body_digest, reverses_id, place));
    lines ledger_draft_line[] := ARRAY(
        SELECT ROW(entry.place, line.line_no, line.body ->> 0, line.body ->> 1)::ledger_draft_line
        FROM jsonb_array_elements(p_entries) WITH ORDINALITY AS entry (body, place)
        CROSS JOIN jsonb_array_elements(entry.body -> 'lines') WITH ORDINALITY AS line (body, line_no));
    accounts ledger_account[];
    verdicts ledger_verdict[];
    broken text;
BEGIN
    FOR attempt IN 1..10 LOOP
        BEGIN
            accounts := ledger_lock_accounts(lines);
            verdicts := ledger_judge_each(drafts, lines, accounts);
            IF ledger_judge_needs_order(drafts, lines, accounts, verdicts) THEN
                verdicts := ledger_judge_in_order(drafts, lines, accounts, verdicts);
            END IF;
            RETURN QUERY SELECT * FROM ledger_write_accepted(drafts, lines, accounts, verdicts, p_recorded_at);
            RETURN;
        EXCEPTION WHEN unique_violation THEN
            -- Another session posted one of the keys between our look and our write, on accounts we did not share.
            -- It has committed, so the next look sees it.
            GET STACKED DIAGNOSTICS broken = CONSTRAINT_NAME;
            IF broken <> 'ledger_entry_key' OR attempt = 10 THEN
                RAISE;
            END IF;
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


-- EXECUTE is granted to the application's role after every migration (config/privileges.py), on the four named on top only.
REVOKE ALL ON FUNCTION ledger_refuse_change, ledger_allows_currencies, ledger_require_whole_entries,
    ledger_is_unbalanced, ledger_require_sound_postings, ledger_require_balance_chain, ledger_require_fixed_account,
    ledger_require_empty_account, ledger_lock_accounts, ledger_judge_each, ledger_judge_needs_order,
    ledger_judge_in_order, ledger_write_accepted, ledger_post_entries, ledger_reverse_entry, ledger_open_accounts, ledger_close_account FROM PUBLIC;
