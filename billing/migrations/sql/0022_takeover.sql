-- The takeover of a Stripe account. The rules, by name:
--
--   …_append_only, …_kept                     what was found, decided, entered and compared are facts
--   billing_takeover_whole_second             Stripe's times are whole seconds, and so is the cut
--   billing_takeover_before_the_books         the cut lies before the first invoice, payment, payout and movement of the books
--   billing_balancetransaction_after_the_cut  a movement at or before the cut is in the opening already
--   billing_invoice_taken_over                an invoice is taken over exactly when it was made at or before the cut; …_stays
--   billing_invoiceline_brought_in            lines of invoices taken over are of their own kind, and of no others
--   billing_payment_taken_over                a payment of before the cut stays one, and one that was entered as ours, too
--   billing_creditnote_entered                only a credit note of before the cut may be without an entry

DO $$
DECLARE
    fact text;
BEGIN
    FOREACH fact IN ARRAY ARRAY['billing_takeover', 'billing_takeoverrun', 'billing_takenover', 'billing_openingentry',
        'billing_takeovercheck']
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


ALTER TABLE billing_takeover ADD CONSTRAINT billing_takeover_whole_second
    CHECK (date_trunc('second', as_of AT TIME ZONE 'UTC') = as_of AT TIME ZONE 'UTC');

-- It waits for whoever is entering money without knowing of the cut, and keeps the next ones waiting until they know it.
-- Invoices first, movements on our balance last, as projections write them. Only the owner may lock tables.
CREATE FUNCTION billing_refuse_takeover_of_known_money() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    LOCK TABLE billing_invoice, billing_payment, billing_payout, billing_customerbalancetransaction,
               billing_balancetransaction IN SHARE MODE;
    IF EXISTS (SELECT FROM billing_balancetransaction WHERE occurred_at < NEW.as_of + interval '1 second')
       OR EXISTS (SELECT FROM billing_customerbalancetransaction WHERE occurred_at < NEW.as_of + interval '1 second')
       OR EXISTS (SELECT FROM billing_payment WHERE occurred_at < NEW.as_of + interval '1 second')
       OR EXISTS (SELECT FROM billing_payout WHERE occurred_at < NEW.as_of + interval '1 second')
       OR EXISTS (SELECT FROM billing_invoice WHERE created_at < NEW.as_of + interval '1 second') THEN
        PERFORM billing_refused('billing_takeover_before_the_books', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_takeover_before_the_books BEFORE INSERT ON billing_takeover FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_takeover_of_known_money();

CREATE FUNCTION billing_refuse_opened_movement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM billing_takeover WHERE NEW.occurred_at < as_of + interval '1 second') THEN
        PERFORM billing_refused('billing_balancetransaction_after_the_cut', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_balancetransaction_after_the_cut BEFORE INSERT ON billing_balancetransaction FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_opened_movement();

CREATE FUNCTION billing_refuse_other_side_of_cut() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.taken_over <> '') IS DISTINCT FROM
       EXISTS (SELECT FROM billing_takeover WHERE NEW.created_at < as_of + interval '1 second') THEN
        PERFORM billing_refused('billing_invoice_taken_over', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_invoice_taken_over BEFORE INSERT ON billing_invoice FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_side_of_cut();
CREATE TRIGGER billing_invoice_taken_over_stays BEFORE UPDATE ON billing_invoice FOR EACH ROW
    WHEN (NEW.taken_over <> OLD.taken_over OR (OLD.taken_over <> '' AND NEW.created_at <> OLD.created_at))
    EXECUTE FUNCTION billing_refuse('billing_invoice_taken_over_stays');

CREATE FUNCTION billing_refuse_line_of_other_books() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM billing_invoice
                WHERE id = NEW.invoice_id AND (taken_over <> '') <> (NEW.kind = 'brought_in')) THEN
        PERFORM billing_refused('billing_invoiceline_brought_in', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_invoiceline_brought_in BEFORE INSERT ON billing_invoiceline FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_line_of_other_books();

CREATE TRIGGER billing_payment_taken_over BEFORE UPDATE ON billing_payment FOR EACH ROW
    WHEN (NEW.is_taken_over <> OLD.is_taken_over AND (OLD.is_taken_over OR OLD.status = 'succeeded'))
    EXECUTE FUNCTION billing_refuse('billing_payment_taken_over');

CREATE FUNCTION billing_refuse_credit_without_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM billing_takeover WHERE NEW.issued_at < as_of + interval '1 second') THEN
        PERFORM billing_refused('billing_creditnote_entered', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_creditnote_entered BEFORE INSERT ON billing_creditnote FOR EACH ROW
    WHEN (NEW.journal_entry_id IS NULL)
    EXECUTE FUNCTION billing_refuse_credit_without_entry();
