-- Manual entries: what was asked, and what was decided. The rules, by name:
--
--   billing_manualentry…_append_only      neither is ever changed; …_kept: neither is ever removed
--   billing_manualentry_decided_as_asked  a decision repeats who asked, and whether that needs a second person, as the request
--                                         says; the CHECKs of its table then tell requester from second person
--   billing_manualentry_posted_as_asked   the journal entry moves what was asked, between the accounts asked, when asked
--   billing_manualentry_alone             what one person moves alone for one customer on one day (UTC) stays within the limit
--
-- The database does not know people: that "user:fiona" is Fiona, only the application says.

DO $$
DECLARE
    fact text;
BEGIN
    FOREACH fact IN ARRAY ARRAY['billing_manualentry', 'billing_manualentrydecision'] LOOP
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


ALTER TABLE billing_manualentry
    ADD CONSTRAINT billing_manualentry_asked UNIQUE (id, requested_by, needs_second_person);
ALTER TABLE billing_manualentrydecision
    ADD CONSTRAINT billing_manualentry_decided_as_asked FOREIGN KEY (manual_entry_id, requested_by, needs_second_person)
        REFERENCES billing_manualentry (id, requested_by, needs_second_person);


CREATE FUNCTION billing_require_posted_as_asked() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    asked billing_manualentry;
    fits boolean;
BEGIN
    SELECT * INTO asked FROM billing_manualentry WHERE id = NEW.manual_entry_id;
    SELECT entry.effective_at = asked.effective_at
           AND (SELECT sum(posting.amount) FILTER (WHERE posting.amount > 0) = asked.amount
                       AND bool_and(account.currency = asked.currency)
                FROM ledger_posting AS posting JOIN ledger_account AS account ON account.id = posting.account_id
                WHERE posting.entry_id = entry.id)
           AND CASE asked.kind
               WHEN 'reversal' THEN entry.reverses_id = asked.reverses_entry_id
               ELSE entry.idempotency_key = 'manual_adjustment:' || asked.id
                    AND (SELECT array_agg(account.code::text ORDER BY posting.amount DESC)
                                = ARRAY[asked.debit_account, asked.credit_account]::text[]
                         FROM ledger_posting AS posting JOIN ledger_account AS account ON account.id = posting.account_id
                         WHERE posting.entry_id = entry.id)
               END
    INTO fits
    FROM ledger_journalentry AS entry WHERE entry.id = NEW.journal_entry_id;
    IF fits IS NOT TRUE THEN
        RAISE EXCEPTION 'Journal entry % is not what manual entry % asked for', NEW.journal_entry_id, asked.id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'billing_manualentry_posted_as_asked';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER billing_manualentry_posted_as_asked BEFORE INSERT ON billing_manualentrydecision FOR EACH ROW
    WHEN (NEW.journal_entry_id IS NOT NULL)
    EXECUTE FUNCTION billing_require_posted_as_asked();


CREATE FUNCTION billing_require_alone_within_limit() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    asked billing_manualentry;
    moved_before numeric;
BEGIN
    SELECT * INTO asked FROM billing_manualentry WHERE id = NEW.manual_entry_id;
    SELECT coalesce(sum(earlier.amount), 0) INTO moved_before
    FROM billing_manualentrydecision AS decision
    JOIN billing_manualentry AS earlier ON earlier.id = decision.manual_entry_id
    WHERE decision.outcome = 'within_limit' AND earlier.requested_by = asked.requested_by
      AND earlier.currency = asked.currency AND earlier.customer_id IS NOT DISTINCT FROM asked.customer_id
      AND date_trunc('day', earlier.requested_at, 'UTC') = date_trunc('day', asked.requested_at, 'UTC');
    IF (moved_before + asked.amount <= asked.limit_amount) IS NOT TRUE THEN
        RAISE EXCEPTION '% would move % alone on one day', asked.requested_by, moved_before + asked.amount
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'billing_manualentry_alone';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER billing_manualentry_alone BEFORE INSERT ON billing_manualentrydecision FOR EACH ROW
    WHEN (NEW.outcome = 'within_limit')
    EXECUTE FUNCTION billing_require_alone_within_limit();


-- Manual entries are asked for and decided one at a time: limits are counted, and what an account holds is looked at,
-- before something is written. Readers are in nobody's way. Held until the transaction ends.
CREATE FUNCTION billing_lock_manual_entries() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    LOCK TABLE billing_manualentry IN SHARE ROW EXCLUSIVE MODE;
END $$;

-- EXECUTE is granted to the application's role after every migration (config/privileges.py).
REVOKE ALL ON FUNCTION billing_lock_manual_entries FROM PUBLIC;
