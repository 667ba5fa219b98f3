"""The SQL of `ledger.verification`. A query of faults answers, for the first few, rule, entry and what is wrong."""

MAX_FAULTS = 100

SPAN = """
    SELECT coalesce((SELECT max(number) FROM ledger_seal), 0),
           coalesce(least((SELECT min(id) FROM ledger_journalentry), (SELECT min(entry_id) FROM ledger_posting)), 1),
           greatest((SELECT max(id) FROM ledger_journalentry), (SELECT max(entry_id) FROM ledger_posting), 0)
"""

UNSEALED = """
    SELECT count(*) FROM ledger_journalentry
    WHERE recorded_xid >= coalesce((SELECT max(before_xid) FROM ledger_seal), 0)
"""

SEAL = """
    SELECT number, from_xid, before_xid,
           entry_count = cardinality(entry_ids) AND entry_count = cardinality(leaf_hashes)
               AND (first_entry, last_entry) IS NOT DISTINCT FROM (entry_ids[1], entry_ids[entry_count]),
           leaf_hashes, root, previous_hash, hash,
           json_build_array(number, sealed_at AT TIME ZONE 'UTC', from_xid, before_xid, entry_count, first_entry,
                            last_entry, encode(root, 'hex'), encode(previous_hash, 'hex'))::text
    FROM ledger_seal WHERE number = %(number)s
"""

# The canonical form of docs/decisions/0008, written a second time: agreement of the two is part of the proof.
LEAF_FAULTS = f"""
    WITH seal AS MATERIALIZED (SELECT * FROM ledger_seal WHERE number = %(number)s
    ), sealed AS (
        SELECT leaf.id, leaf.hash FROM seal, unnest(seal.entry_ids, seal.leaf_hashes) AS leaf (id, hash)
    ), entry AS MATERIALIZED (
        SELECT * FROM ledger_journalentry
        WHERE recorded_xid >= (SELECT from_xid FROM seal) AND recorded_xid < (SELECT before_xid FROM seal)
    ), account AS MATERIALIZED (
        SELECT id, json_build_array(code, kind, currency, normal_side, customer_key, floor::text, keeps_balance) AS body
        FROM ledger_account
    ), line AS MATERIALIZED (
        SELECT posting.entry_id, json_agg(json_build_array(
                   posting.line_no, posting.account_id, posting.amount::text, posting.balance_after::text,
                   posting.account_version, account.body) ORDER BY posting.line_no) AS body
        FROM ledger_posting AS posting JOIN entry ON entry.id = posting.entry_id
        LEFT JOIN account ON account.id = posting.account_id
        WHERE posting.entry_id >= (SELECT min(id) FROM entry) AND posting.entry_id <= (SELECT max(id) FROM entry)
        GROUP BY posting.entry_id
    ), recomputed AS (
        SELECT entry.id, sha256('\\x00'::bytea || convert_to(json_build_array(
                   entry.id, entry.idempotency_key, entry.kind, entry.memo, entry.effective_at AT TIME ZONE 'UTC',
                   entry.recorded_at AT TIME ZONE 'UTC', entry.actor, entry.cause::text,
                   encode(entry.body_digest, 'hex'), entry.reverses_id, entry.recorded_xid, line.body
               )::text, 'UTF8')) AS hash
        FROM entry LEFT JOIN line ON line.entry_id = entry.id
    )
    SELECT 'ledger_seal_leaf', coalesce(sealed.id, recomputed.id),
           CASE WHEN recomputed.id IS NULL THEN 'the entry, sealed in seal ' || %(number)s || ', is missing'
                WHEN sealed.id IS NULL THEN 'the entry was added to the transactions of seal ' || %(number)s
                ELSE 'the entry, a posting of it or its account is not what seal ' || %(number)s || ' sealed'
           END
    FROM sealed FULL JOIN recomputed ON recomputed.id = sealed.id
    WHERE recomputed.hash IS DISTINCT FROM sealed.hash ORDER BY 2 LIMIT {MAX_FAULTS}
"""

# In two stages. The first reads every row once, in order of id, and asks only whether an entry could be anything but an
# ordinary one: sound, in one currency, not a reversal. The second names what is wrong with the few that could.
# Of the chains likewise: what does not follow the posting before it in this step, or has none there, is looked up.
# A floor holds when an entry has ended, so it is asked of an account's last posting in an entry.
ENTRY_FAULTS = f"""
    WITH account AS MATERIALIZED (
        -- A number for the currency: comparing texts would cost a tenth of it all.
        SELECT *, dense_rank() OVER (ORDER BY currency)::integer AS currency_no FROM ledger_account
    ), suspect AS MATERIALIZED (
        SELECT coalesce(entry.id, whole.entry_id) AS id
        FROM (
            SELECT id, reverses_id IS NOT NULL OR starts_with(idempotency_key, 'reversal:')
                       OR octet_length(body_digest) <> 32 AS odd
            FROM ledger_journalentry WHERE id >= %(start)s AND id < %(end)s
        ) AS entry
        FULL JOIN (
            SELECT posting.entry_id,
                   sum(amount) <> 0 OR count(*) < 2 OR min(line_no) <> 1 OR max(line_no) <> count(*)
                   OR min(currency_no) <> max(currency_no)
                   -- A sum with a NaN in it is not zero.
                   OR bool_or(account.id IS NULL OR amount = 0
                              OR keeps_balance <> (account_version IS NOT NULL)
                              OR keeps_balance <> (balance_after IS NOT NULL)) AS odd
            FROM ledger_posting AS posting LEFT JOIN account ON account.id = posting.account_id
            WHERE posting.entry_id >= %(start)s AND posting.entry_id < %(end)s GROUP BY posting.entry_id
        ) AS whole ON whole.entry_id = entry.id
        WHERE entry.id IS NULL OR whole.entry_id IS NULL OR entry.odd OR whole.odd
    ), line AS MATERIALIZED (
        SELECT posting.entry_id, posting.line_no, posting.amount, account.currency_no,
               posting.amount = 0 OR posting.amount = 'NaN' AS ill_amount,
               account.keeps_balance IS DISTINCT FROM (posting.account_version IS NOT NULL)
                   OR account.keeps_balance IS DISTINCT FROM (posting.balance_after IS NOT NULL) AS ill_kept
        FROM suspect JOIN ledger_posting AS posting ON posting.entry_id = suspect.id
        LEFT JOIN account ON account.id = posting.account_id
        WHERE posting.entry_id >= %(start)s AND posting.entry_id < %(end)s
    ), whole AS (
        SELECT entry_id, sum(amount) AS net, count(*) AS line_count, count(currency_no) AS known_count,
               min(line_no) AS first_line, max(line_no) AS last_line, min(currency_no) AS currency_no,
               max(currency_no) AS other_currency_no, bool_or(ill_amount) AS ill_amount, bool_or(ill_kept) AS ill_kept
        FROM line GROUP BY entry_id
    ), judged AS (
        SELECT suspect.id AS entry_id,
               CASE WHEN entry.id IS NULL THEN 'ledger_entry_missing'
                    WHEN whole.line_count < 2 OR whole.entry_id IS NULL THEN 'ledger_entry_empty'
                    WHEN whole.first_line <> 1 OR whole.last_line <> whole.line_count THEN 'ledger_entry_sealed'
                    WHEN whole.known_count <> whole.line_count THEN 'ledger_account_unknown'
                    WHEN whole.ill_amount THEN 'ledger_posting_amount'
                    WHEN whole.currency_no <> whole.other_currency_no
                         AND entry.kind <> 'fx' AND NOT starts_with(entry.kind, 'fx_') THEN 'ledger_entry_currency'
                    WHEN whole.net <> 0 THEN 'ledger_entry_balanced'
                    -- Several currencies could cancel out: each is asked alone.
                    WHEN whole.currency_no <> whole.other_currency_no AND EXISTS (
                        SELECT FROM ledger_posting AS posting JOIN account ON account.id = posting.account_id
                        WHERE posting.entry_id = whole.entry_id GROUP BY currency_no HAVING sum(amount) <> 0)
                        THEN 'ledger_entry_balanced'
                    WHEN whole.ill_kept THEN 'ledger_balance_chain'
                    WHEN octet_length(entry.body_digest) <> 32 THEN 'ledger_entry_digest'
                    WHEN entry.reverses_id IS NULL AND starts_with(entry.idempotency_key, 'reversal:')
                        OR entry.idempotency_key <> 'reversal:' || entry.reverses_id
                        THEN 'ledger_entry_reversal_key' END AS rule
        FROM suspect LEFT JOIN ledger_journalentry AS entry ON entry.id = suspect.id
        LEFT JOIN whole ON whole.entry_id = suspect.id
    ), mirrored AS (
        SELECT mirror.id FROM suspect JOIN ledger_journalentry AS mirror ON mirror.id = suspect.id
        WHERE mirror.reverses_id IS NOT NULL AND (
            NOT EXISTS (SELECT FROM ledger_journalentry AS first WHERE first.id = mirror.reverses_id)
            OR ARRAY(SELECT ROW(line_no, account_id, amount) FROM ledger_posting
                     WHERE entry_id = mirror.id ORDER BY line_no)
               <> ARRAY(SELECT ROW(line_no, account_id, -amount) FROM ledger_posting
                        WHERE entry_id = mirror.reverses_id ORDER BY line_no))
    ), step AS (
        SELECT posting.entry_id, posting.account_id, account_version, balance_after,
               CASE normal_side WHEN 'D' THEN amount ELSE -amount END AS change,
               lag(account_version) OVER chain AS version_before, lag(balance_after) OVER chain AS balance_before,
               lag(posting.entry_id) OVER chain AS entry_before, coalesce(balance_after < floor, false) AS is_low
        FROM ledger_posting AS posting LEFT JOIN account ON account.id = posting.account_id
        WHERE posting.entry_id >= %(start)s AND posting.entry_id < %(end)s AND account_version IS NOT NULL
        WINDOW chain AS (PARTITION BY posting.account_id ORDER BY account_version)
    ), chained AS (
        SELECT step.entry_id, step.account_id,
               CASE WHEN step.version_before IS NULL
                    THEN step.account_version = coalesce(earlier.account_version, 0) + 1
                         AND step.balance_after = coalesce(earlier.balance_after, 0) + step.change
                         AND coalesce(earlier.entry_id, step.entry_id) <= step.entry_id
                    ELSE step.account_version = step.version_before + 1
                         AND step.balance_after = step.balance_before + step.change
                         AND step.entry_before <= step.entry_id END AS continues,
               step.is_low AND NOT EXISTS (
                   SELECT FROM ledger_posting AS later
                   WHERE later.account_id = step.account_id AND later.account_version = step.account_version + 1
                     AND later.entry_id = step.entry_id) AS overdrawn
        FROM (
            SELECT * FROM step
            WHERE (account_version = version_before + 1 AND balance_after = balance_before + change
                   AND entry_before <= entry_id AND NOT is_low) IS NOT TRUE
        ) AS step
        LEFT JOIN LATERAL (
            SELECT account_version, balance_after, entry_id FROM ledger_posting
            WHERE account_id = step.account_id AND account_version = step.account_version - 1 LIMIT 1
        ) AS earlier ON step.version_before IS NULL
    )
    SELECT rule, entry_id, 'the entry as a whole' FROM judged WHERE rule IS NOT NULL
    UNION ALL
    SELECT 'ledger_reversal_mirrors', id, 'it is not the mirror image of the entry it reverses' FROM mirrored
    UNION ALL
    SELECT CASE WHEN continues THEN 'ledger_account_floor' ELSE 'ledger_balance_chain' END, entry_id,
           'its posting on account '
               || coalesce((SELECT code FROM ledger_account WHERE id = account_id), account_id::text)
    FROM chained WHERE continues IS NOT TRUE OR overdrawn
    ORDER BY 2, 1 LIMIT {MAX_FAULTS}
"""

# An account is named with its last posting. Sums are taken anew from all postings.
ACCOUNT_FAULTS = f"""
    WITH posted AS MATERIALIZED (
        SELECT account_id, count(account_version) AS version, sum(amount) AS net, max(entry_id) AS last_entry
        FROM ledger_posting GROUP BY account_id
    ), whole AS (
        SELECT account.currency, sum(posted.net) AS net
        FROM posted JOIN ledger_account AS account ON account.id = posted.account_id GROUP BY account.currency
    ), judged AS (
        SELECT account.code, posted.last_entry,
               CASE WHEN account.version <> CASE WHEN account.keeps_balance THEN coalesce(posted.version, 0) ELSE 0 END
                      OR account.balance <> CASE WHEN NOT account.keeps_balance THEN 0
                                                 WHEN account.normal_side = 'D' THEN coalesce(posted.net, 0)
                                                 ELSE -coalesce(posted.net, 0) END THEN 'ledger_balance_chain'
                    WHEN account.balance < account.floor THEN 'ledger_account_floor'
                    WHEN account.closed_at IS NOT NULL AND account.balance <> 0
                        THEN 'ledger_account_closed_empty' END AS rule
        FROM ledger_account AS account LEFT JOIN posted ON posted.account_id = account.id
    )
    SELECT rule, last_entry, 'account ' || code || ' does not stand where its postings put it' FROM judged
    WHERE rule IS NOT NULL
    UNION ALL
    SELECT 'ledger_conservation', NULL, currency || ' sums to ' || net || ' over the whole ledger'
    FROM whole WHERE net <> 0
    ORDER BY 2, 3 LIMIT {MAX_FAULTS}
"""

KEY_FAULTS = f"""
    SELECT 'ledger_entry_key', max(entry.id), 'the key ' || entry.idempotency_key || ' is used ' || count(*) || ' times'
    FROM ledger_journalentry AS entry
    JOIN (SELECT idempotency_key FROM ledger_journalentry GROUP BY 1 HAVING count(*) > 1) AS twice
        USING (idempotency_key)
    GROUP BY entry.idempotency_key ORDER BY 2 LIMIT {MAX_FAULTS}
"""

# A snapshot is recomputed from the first posting on, so that a forged one is named and not the next.
SNAPSHOT_FAULTS = f"""
    WITH snapshot AS MATERIALIZED (
        SELECT *, lag(through_entry, 1, 0::bigint) OVER (PARTITION BY account_id ORDER BY through_entry) AS after_entry
        FROM ledger_balancesnapshot
    ), recomputed AS (
        SELECT snapshot.*, sum(since.debit) OVER history AS true_debit, sum(since.credit) OVER history AS true_credit,
               sum(since.posting_count) OVER history AS true_count
        FROM snapshot CROSS JOIN LATERAL (
            SELECT coalesce(sum(amount) FILTER (WHERE amount > 0), 0) AS debit,
                   coalesce(-sum(amount) FILTER (WHERE amount < 0), 0) AS credit, count(*) AS posting_count
            FROM ledger_posting AS posting
            WHERE posting.account_id = snapshot.account_id AND posting.account_version IS NULL
              AND posting.entry_id > snapshot.after_entry AND posting.entry_id <= snapshot.through_entry
        ) AS since
        WINDOW history AS (PARTITION BY snapshot.account_id ORDER BY snapshot.through_entry)
    )
    SELECT CASE WHEN account.keeps_balance IS NOT FALSE THEN 'ledger_snapshot_account'
                WHEN mark.entry IS NULL THEN 'ledger_snapshot_horizon' ELSE 'ledger_snapshot_sum' END,
           NULL::bigint, 'the snapshot of account ' || coalesce(account.code, account_id::text) || ' through entry '
               || through_entry || ' is not what its postings come to'
    FROM recomputed LEFT JOIN ledger_account AS account ON account.id = account_id
    LEFT JOIN ledger_snapshotmark AS mark ON mark.entry = through_entry
    WHERE account.keeps_balance IS NOT FALSE OR mark.entry IS NULL
       OR (debit, credit, posting_count) IS DISTINCT FROM (true_debit, true_credit, true_count)
    ORDER BY account_id, through_entry LIMIT {MAX_FAULTS}
"""
