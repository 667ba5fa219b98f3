-- Proofs and what came of verifying them are facts; no close of ours is finished without a proof.

DO $$
DECLARE
    fact text;
BEGIN
    FOREACH fact IN ARRAY ARRAY['billing_invoiceproof', 'billing_invoiceverification']
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

-- Said before the fact: a proof that is not marked as made afterwards is of a draft.
CREATE FUNCTION billing_refuse_late_proof() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM billing_invoice WHERE id = NEW.invoice_id AND (NEW.is_afterwards OR status = 'draft');
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'integrity_constraint_violation',
            MESSAGE = 'INSERT of billing_invoiceproof is refused by rule billing_invoiceproof_before_finalisation',
            CONSTRAINT = 'billing_invoiceproof_before_finalisation',
            TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_invoiceproof_before_finalisation BEFORE INSERT ON billing_invoiceproof FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_late_proof();

CREATE FUNCTION billing_refuse_unproved_close() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM billing_invoiceproof WHERE invoice_id = NEW.invoice_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'integrity_constraint_violation',
            MESSAGE = 'UPDATE of billing_invoiceclose is refused by rule billing_invoiceclose_proved',
            CONSTRAINT = 'billing_invoiceclose_proved',
            TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_invoiceclose_proved BEFORE UPDATE ON billing_invoiceclose FOR EACH ROW
    WHEN (NEW.step IN ('proved', 'finalized') AND OLD.step IS DISTINCT FROM NEW.step)
    EXECUTE FUNCTION billing_refuse_unproved_close();
