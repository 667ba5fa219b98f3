-- Orders of invoices, requests about invoices, and releases of held closes. The rules, by name:
--
--   billing_invoiceorder_terms, billing_invoicerequest_terms   what was ordered or asked for never changes; what came of it
--                                                              is learned (…_learned: once), and stays once it is finished;
--                                                              only a draft may still be lost at Stripe
--   …_append_only, …_kept                                      lines, decisions and releases are never changed; nothing is removed
--   billing_invoicerequest_decided_as_asked                    a decision repeats who asked and whether that takes two
--   billing_invoicerequest_carried_out_as_decided              nothing is under way that nobody decided to do

CREATE TRIGGER billing_invoiceorder_terms BEFORE UPDATE ON billing_invoiceorder FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_invoiceorder_terms', 'state', 'request', 'invoice_id', 'outcome',
        'error', 'attempts', 'next_attempt_at', 'finished_at');
CREATE TRIGGER billing_invoiceorder_learned BEFORE UPDATE ON billing_invoiceorder FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_second_value('billing_invoiceorder_learned', 'request', 'invoice_id', 'finished_at');
CREATE TRIGGER billing_invoiceorder_ended BEFORE UPDATE ON billing_invoiceorder FOR EACH ROW
    WHEN (OLD.state <> 'intended' AND OLD.state <> NEW.state AND NOT (OLD.state = 'drafted' AND NEW.state = 'lost'))
    EXECUTE FUNCTION billing_refuse('billing_invoiceorder_ended');

CREATE TRIGGER billing_invoicerequest_terms BEFORE UPDATE ON billing_invoicerequest FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_invoicerequest_terms', 'state', 'stripe_request', 'order_id',
        'credit_note_id', 'outcome', 'error', 'attempts', 'next_attempt_at', 'finished_at');
CREATE TRIGGER billing_invoicerequest_learned BEFORE UPDATE ON billing_invoicerequest FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_second_value('billing_invoicerequest_learned', 'stripe_request', 'order_id',
        'credit_note_id', 'finished_at');
CREATE TRIGGER billing_invoicerequest_ended BEFORE UPDATE ON billing_invoicerequest FOR EACH ROW
    WHEN (OLD.state IN ('done', 'refused', 'called_off') AND OLD.state <> NEW.state)
    EXECUTE FUNCTION billing_refuse('billing_invoicerequest_ended');

ALTER TABLE billing_invoicerequest
    ADD CONSTRAINT billing_invoicerequest_asked UNIQUE (id, requested_by, needs_second_person);
ALTER TABLE billing_invoicerequestdecision
    ADD CONSTRAINT billing_invoicerequest_decided_as_asked FOREIGN KEY (invoice_request_id, requested_by, needs_second_person)
        REFERENCES billing_invoicerequest (id, requested_by, needs_second_person);

-- Looked at when the transaction ends, as request and decision are written one after the other.
CREATE FUNCTION billing_require_decided() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    decided text;
    stands text;
BEGIN
    SELECT state INTO stands FROM billing_invoicerequest WHERE id = NEW.id;
    SELECT outcome INTO decided FROM billing_invoicerequestdecision WHERE invoice_request_id = NEW.id;
    IF stands IS DISTINCT FROM NEW.state THEN
        RETURN NULL;  -- it went further within this transaction, which has a check of its own
    END IF;
    IF (CASE NEW.state
           WHEN 'waiting' THEN decided IS NOT NULL
           WHEN 'called_off' THEN decided IS NULL OR decided NOT IN ('rejected', 'withdrawn')
           ELSE decided IS NULL OR decided NOT IN ('within_limit', 'approved')
       END) THEN
        RAISE EXCEPTION 'Invoice request % is %, and its decision is %', NEW.id, NEW.state, coalesce(decided, 'none')
            USING ERRCODE = 'integrity_constraint_violation',
                  CONSTRAINT = 'billing_invoicerequest_carried_out_as_decided';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER billing_invoicerequest_carried_out_as_decided AFTER INSERT OR UPDATE ON billing_invoicerequest
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing_require_decided();

DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY[
        'billing_invoiceorderline', 'billing_invoicerequestdecision', 'billing_invoicecloserelease']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_append_only', kept, kept || '_append_only');
    END LOOP;
    FOREACH kept IN ARRAY ARRAY[
        'billing_invoiceorder', 'billing_invoiceorderline', 'billing_invoicerequest', 'billing_invoicerequestdecision',
        'billing_invoicecloserelease']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE DELETE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_delete', kept, kept || '_kept');
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_truncate', kept, kept || '_kept');
    END LOOP;
END $$;

-- Those that are held already: since when nobody wrote down.
UPDATE billing_invoiceclose SET held_at = next_attempt_at WHERE held_reason <> '';
