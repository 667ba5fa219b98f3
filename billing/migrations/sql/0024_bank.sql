-- Lines of the bank's statement, and which payout each is. The rules, by name:
--
--   …_append_only                  statements, lines, matches, what undid them, decisions and what a payout paid out are
--                                  facts: never changed; …_kept: never removed. An account stays as it was opened
--   billing_bankline_of_account    a line is in the currency of its account, and of a statement of that account
--   billing_bankmatch…_one_at_once a line, and a leg of a payout, is in one match that counts: the number of a match
--                                  counts on from those before, and all of those were undone. Two that are added at
--                                  once have the same number, and the UNIQUE lets one in
--   billing_bankmatch_whole        at the end of its transaction a match has lines and payouts, one of the one at most
--                                  where there are several of the other, all in its currency, and differs by what it says;
--                                  one made by the rule has one of each. So nothing is added to it later

DO $$
DECLARE
    fact text;
BEGIN
    FOREACH fact IN ARRAY ARRAY['billing_bankaccount', 'billing_bankstatement', 'billing_bankline', 'billing_bankmatch',
        'billing_bankmatchline', 'billing_bankmatchpayout', 'billing_bankmatchundoing', 'billing_banklinedecision',
        'billing_payoutmovement']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            fact || '_append_only', fact, fact || '_append_only');
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE DELETE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            fact || '_no_delete', fact, fact || '_kept');
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse(%L)',
            fact || '_no_truncate', fact, fact || '_kept');
    END LOOP;
END $$;

ALTER TABLE billing_bankaccount ADD CONSTRAINT billing_bankaccount_with_currency UNIQUE (id, currency);
ALTER TABLE billing_bankstatement ADD CONSTRAINT billing_bankstatement_with_account UNIQUE (id, account_id);
ALTER TABLE billing_bankline
    ADD CONSTRAINT billing_bankline_of_account FOREIGN KEY (account_id, currency)
        REFERENCES billing_bankaccount (id, currency),
    ADD CONSTRAINT billing_bankline_of_statement FOREIGN KEY (statement_id, account_id)
        REFERENCES billing_bankstatement (id, account_id);

CREATE FUNCTION billing_require_next_bank_match() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    before_it bigint;
    counting bigint;
BEGIN
    IF TG_TABLE_NAME = 'billing_bankmatchline' THEN
        SELECT count(*), count(*) FILTER (WHERE undoing.id IS NULL) INTO before_it, counting
        FROM billing_bankmatchline AS part LEFT JOIN billing_bankmatchundoing AS undoing USING (match_id)
        WHERE part.line_id = NEW.line_id;
    ELSE
        SELECT count(*), count(*) FILTER (WHERE undoing.id IS NULL) INTO before_it, counting
        FROM billing_bankmatchpayout AS part LEFT JOIN billing_bankmatchundoing AS undoing USING (match_id)
        WHERE part.payout_id = NEW.payout_id AND part.leg = NEW.leg;
    END IF;
    IF counting > 0 OR NEW.number <> before_it + 1 THEN
        RAISE EXCEPTION 'It is in % matches, % of which count: it cannot be in another as number %',
                before_it, counting, NEW.number
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_TABLE_NAME || '_one_at_once',
                  TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER billing_bankmatchline_one_at_once BEFORE INSERT ON billing_bankmatchline FOR EACH ROW
    EXECUTE FUNCTION billing_require_next_bank_match();
CREATE TRIGGER billing_bankmatchpayout_one_at_once BEFORE INSERT ON billing_bankmatchpayout FOR EACH ROW
    EXECUTE FUNCTION billing_require_next_bank_match();

CREATE FUNCTION billing_require_whole_bank_match() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    of_match bigint := CASE WHEN TG_TABLE_NAME = 'billing_bankmatch' THEN (to_jsonb(NEW) ->> 'id')::bigint
                            ELSE (to_jsonb(NEW) ->> 'match_id')::bigint END;
    said billing_bankmatch;
    lines record;
    payouts record;
BEGIN
    SELECT * INTO said FROM billing_bankmatch WHERE id = of_match;
    SELECT count(*) AS number, coalesce(sum(line.amount_minor), 0) AS total,
           coalesce(bool_and(line.currency = said.currency), false) AS agree
    INTO lines FROM billing_bankmatchline AS part JOIN billing_bankline AS line ON line.id = part.line_id
    WHERE part.match_id = of_match;
    SELECT count(*) AS number,
           coalesce(sum(CASE part.leg WHEN 'returned' THEN -payout.amount_minor ELSE payout.amount_minor END), 0) AS total,
           coalesce(bool_and(payout.currency = said.currency), false) AS agree
    INTO payouts FROM billing_bankmatchpayout AS part JOIN billing_payout AS payout ON payout.id = part.payout_id
    WHERE part.match_id = of_match;
    IF NOT lines.agree OR NOT payouts.agree OR (lines.number > 1 AND payouts.number > 1)
       OR (said.kind = 'exact' AND lines.number + payouts.number <> 2)
       OR lines.total - payouts.total <> said.difference_minor THEN
        RAISE EXCEPTION 'Match % has % lines of % and % payouts of %, and says that they differ by %', of_match,
                lines.number, lines.total, payouts.number, payouts.total, said.difference_minor
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'billing_bankmatch_whole',
                  TABLE = 'billing_bankmatch';
    END IF;
    RETURN NULL;
END $$;

DO $$
DECLARE
    part text;
BEGIN
    FOREACH part IN ARRAY ARRAY['billing_bankmatch', 'billing_bankmatchline', 'billing_bankmatchpayout'] LOOP
        EXECUTE format(
            'CREATE CONSTRAINT TRIGGER billing_bankmatch_whole AFTER INSERT ON %I DEFERRABLE INITIALLY DEFERRED '
            'FOR EACH ROW EXECUTE FUNCTION billing_require_whole_bank_match()', part);
    END LOOP;
END $$;

-- By what the bank can find a payout is learned when it is paid.
DROP TRIGGER billing_payout_terms ON billing_payout;
CREATE TRIGGER billing_payout_terms BEFORE UPDATE ON billing_payout FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_payout_terms', 'status', 'failure_code', 'failure_message',
        'expected_at', 'arrived_at', 'returned_at', 'projected_at', 'trace_id', 'statement_descriptor');
