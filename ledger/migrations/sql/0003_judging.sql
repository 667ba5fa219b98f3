-- How drafts are judged one by one, where ledger_write_all (0003_posting.sql) could not write them all at once.

CREATE TYPE ledger_draft AS (
    place integer, idempotency_key text, kind text, takes_effect_at timestamptz, body_digest bytea);
CREATE TYPE ledger_draft_line AS (place integer, account_code text, amount numeric);
-- Why a draft is not written. entry_id: its key already posted that. repeats: the place of the draft in the same batch that
-- it repeats. rule: it is refused. A draft that is written has no verdict.
CREATE TYPE ledger_verdict AS (place integer, entry_id bigint, repeats integer, rule text, about text);


CREATE FUNCTION ledger_amount_fits(p_amount numeric) RETURNS boolean LANGUAGE sql IMMUTABLE
    RETURN (abs(p_amount) > 0 AND abs(p_amount) < 1e26 AND scale(trim_scale(p_amount)) <= 12) IS TRUE;


-- Every account the lines name, those that keep a balance locked, lowest id first.
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
CREATE FUNCTION ledger_judge_each(
    p_drafts ledger_draft[], p_lines ledger_draft_line[], p_accounts ledger_account[], p_closed_before timestamptz)
RETURNS ledger_verdict[] LANGUAGE plpgsql
    SET enable_nestloop = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    keys text[] := ARRAY(SELECT idempotency_key FROM unnest(p_drafts));
BEGIN
    RETURN ARRAY(
        WITH known AS MATERIALIZED (
            SELECT id, idempotency_key, body_digest FROM ledger_journalentry WHERE idempotency_key = ANY (keys)
        ), by_currency AS (
            SELECT line.place, account.currency, count(*) AS line_count, sum(line.amount) AS net,
                   min(coalesce(line.account_code, '')) FILTER (WHERE account.id IS NULL) AS unknown,
                   min(line.account_code) FILTER (WHERE account.closed_at IS NOT NULL) AS closed,
                   min(coalesce(line.account_code, '')) FILTER (WHERE NOT ledger_amount_fits(line.amount)) AS ill_amount
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
                        WHEN draft.takes_effect_at < p_closed_before THEN 'ledger_period_closed' END AS rule
            FROM unnest(p_drafts) AS draft
            LEFT JOIN shape ON shape.place = draft.place
            LEFT JOIN known ON known.idempotency_key = draft.idempotency_key
        )
        SELECT ROW(place, CASE WHEN rule IS NULL THEN known_id END, NULL, rule,
                   CASE rule WHEN 'ledger_key_reused' THEN idempotency_key WHEN 'ledger_posting_amount' THEN ill_amount
                             WHEN 'ledger_account_unknown' THEN unknown WHEN 'ledger_account_closed' THEN closed
                             WHEN 'ledger_entry_currency' THEN currencies WHEN 'ledger_entry_balanced' THEN unbalanced
                             WHEN 'ledger_period_closed' THEN p_closed_before::date::text
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
