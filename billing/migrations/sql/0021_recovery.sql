-- Recovery of payments and refunds that people ask for. The rules, by name:
--
--   …_append_only                      policies, their choice, steps and decisions are facts: never changed
--   …_kept                             nothing of all this is ever removed
--   billing_recoverycase_opened        why and from when a case counts stays; …_forward: a closed case is never opened again
--   …_as_asked                         what was asked for stays: amount, payment, who, when, why
--   …_decided_as_asked                 a decision repeats who asked and whether it takes two; the CHECKs tell them apart
--   …_decided_first                    nothing goes to Stripe before a decision that agrees
--   billing_refundrequest_within_paid  refunds of one payment, asked for here or made at Stripe, are at most what was paid,
--                                      and with what credit notes gave back at most what settled the invoice
--   billing_refundrequest_not_of_prepaid  what paid for prepaid credit goes back by a credit note, with the credit
--   …_alone                            what one person moves alone for a customer on a day (UTC) stays within the limit
--   billing_message_as_told            an e-mail is sent as it was meant; …_once: what was handed over never waits again

DO $$
DECLARE
    fact text;
BEGIN
    FOREACH fact IN ARRAY ARRAY['billing_recoverypolicy', 'billing_recoverypolicychoice', 'billing_recoverystep',
        'billing_writeoffdecision', 'billing_refunddecision', 'billing_refundbatch']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            fact || '_append_only', fact, fact || '_append_only');
    END LOOP;
    FOREACH fact IN ARRAY ARRAY['billing_recoverypolicy', 'billing_recoverypolicychoice', 'billing_recoverycase',
        'billing_recoverystep', 'billing_writeoffrequest', 'billing_writeoffdecision', 'billing_message',
        'billing_paymentcard', 'billing_refundbatch', 'billing_refundrequest', 'billing_refunddecision']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE DELETE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            fact || '_no_delete', fact, fact || '_kept');
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse(%L)',
            fact || '_no_truncate', fact, fact || '_kept');
    END LOOP;
END $$;


CREATE TRIGGER billing_recoverycase_opened BEFORE UPDATE ON billing_recoverycase FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_recoverycase_opened', 'state', 'outcome', 'closed_at',
        'next_step_at');
CREATE TRIGGER billing_recoverycase_forward BEFORE UPDATE ON billing_recoverycase FOR EACH ROW
    WHEN (OLD.state = 'closed' OR (OLD.state = 'written_off' AND NEW.state = 'open'))
    EXECUTE FUNCTION billing_refuse('billing_recoverycase_forward');

CREATE TRIGGER billing_message_as_told BEFORE UPDATE ON billing_message FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_message_as_told', 'state', 'next_attempt_at', 'attempts',
        'sent_at', 'error');
CREATE TRIGGER billing_message_once BEFORE UPDATE ON billing_message FOR EACH ROW
    WHEN (OLD.state IN ('sent', 'failed') OR (OLD.state = 'sending' AND NEW.state = 'waiting'))
    EXECUTE FUNCTION billing_refuse('billing_message_once');

CREATE TRIGGER billing_paymentcard_of BEFORE UPDATE ON billing_paymentcard FOR EACH ROW
    WHEN ((OLD.stripe_payment_method_id, OLD.customer_id)
          IS DISTINCT FROM (NEW.stripe_payment_method_id, NEW.customer_id))
    EXECUTE FUNCTION billing_refuse('billing_paymentcard_of');


-- Requests and their decisions.
CREATE TRIGGER billing_writeoffrequest_as_asked BEFORE UPDATE ON billing_writeoffrequest FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_writeoffrequest_as_asked', 'done_at', 'error');
CREATE TRIGGER billing_refundrequest_as_asked BEFORE UPDATE ON billing_refundrequest FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_refundrequest_as_asked', 'state', 'stripe_refund_id',
        'stripe_credit_note_id', 'error', 'ended_at', 'next_attempt_at');
-- An end stays, and what was refunded names its refund for good.
CREATE TRIGGER billing_refundrequest_ended BEFORE UPDATE ON billing_refundrequest FOR EACH ROW
    WHEN (OLD.state IN ('sent', 'refused', 'dropped'))
    EXECUTE FUNCTION billing_refuse('billing_refundrequest_ended');

ALTER TABLE billing_writeoffrequest
    ADD CONSTRAINT billing_writeoffrequest_asked UNIQUE (id, requested_by, needs_second_person);
ALTER TABLE billing_writeoffdecision
    ADD CONSTRAINT billing_writeoffdecision_decided_as_asked FOREIGN KEY (request_id, requested_by, needs_second_person)
        REFERENCES billing_writeoffrequest (id, requested_by, needs_second_person);
ALTER TABLE billing_refundrequest
    ADD CONSTRAINT billing_refundrequest_asked UNIQUE (id, requested_by, needs_second_person);
ALTER TABLE billing_refunddecision
    ADD CONSTRAINT billing_refunddecision_decided_as_asked FOREIGN KEY (request_id, requested_by, needs_second_person)
        REFERENCES billing_refundrequest (id, requested_by, needs_second_person);


CREATE FUNCTION billing_require_agreement() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    agreed boolean;
BEGIN
    EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE request_id = $1 AND outcome IN (%L, %L))',
        TG_ARGV[1], 'within_limit', 'approved') INTO agreed USING NEW.id;
    IF NOT agreed THEN
        RAISE EXCEPTION 'Nobody who may has agreed to request %', NEW.id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_ARGV[0], TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER billing_refundrequest_decided_first BEFORE UPDATE ON billing_refundrequest FOR EACH ROW
    WHEN (NEW.state IN ('agreed', 'sent', 'refused') AND OLD.state = 'waiting')
    EXECUTE FUNCTION billing_require_agreement('billing_refundrequest_decided_first', 'billing_refunddecision');
CREATE TRIGGER billing_refundrequest_begins BEFORE INSERT ON billing_refundrequest FOR EACH ROW
    WHEN (NEW.state <> 'waiting')
    EXECUTE FUNCTION billing_refuse('billing_refundrequest_begins');
CREATE TRIGGER billing_writeoffrequest_decided_first BEFORE UPDATE ON billing_writeoffrequest FOR EACH ROW
    WHEN (NEW.done_at IS NOT NULL)
    EXECUTE FUNCTION billing_require_agreement('billing_writeoffrequest_decided_first', 'billing_writeoffdecision');


-- Of a payment: what is refunded at Stripe or asked for here, each once.
CREATE FUNCTION billing_refunded_or_asked(of_payment bigint) RETURNS numeric LANGUAGE sql
    SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT (SELECT coalesce(sum(request.amount_minor), 0) FROM billing_refundrequest AS request
            WHERE request.payment_id = of_payment AND request.state IN ('waiting', 'agreed', 'sent')
              AND NOT EXISTS (SELECT FROM billing_refund AS refund
                              WHERE refund.stripe_refund_id = request.stripe_refund_id
                                AND refund.status IN ('failed', 'canceled')))
         + (SELECT coalesce(sum(refund.amount_minor), 0) FROM billing_refund AS refund
            WHERE refund.payment_id = of_payment AND refund.status NOT IN ('failed', 'canceled')
              AND NOT EXISTS (SELECT FROM billing_refundrequest AS request
                              WHERE request.stripe_refund_id = refund.stripe_refund_id))
$$;

-- Of an invoice: what settled it, less what credit notes gave back of that or are about to (refunding/left.py).
CREATE FUNCTION billing_settled_and_not_credited(of_invoice bigint) RETURNS numeric LANGUAGE sql
    SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT (SELECT coalesce(sum(amount_minor), 0) FROM billing_payment
            WHERE invoice_id = invoice.id AND status = 'succeeded')
         + invoice.paid_off_stripe_minor
         + greatest(coalesce(invoice.ending_balance_minor, invoice.starting_balance_minor)
                    - invoice.starting_balance_minor, 0)
         - (SELECT coalesce(sum(to_balance_minor + out_of_band_minor), 0) FROM billing_creditnote
            WHERE invoice_id = invoice.id AND unwound_at IS NULL)
         - (SELECT coalesce(sum(covered.amount_minor), 0) FROM billing_creditnoterefund AS covered
            JOIN billing_creditnote AS note USING (stripe_credit_note_id)
            WHERE note.invoice_id = invoice.id
              AND NOT EXISTS (SELECT FROM billing_refund AS refund
                              WHERE refund.stripe_refund_id = covered.stripe_refund_id)
              AND NOT EXISTS (SELECT FROM billing_refundrequest AS request
                              WHERE request.stripe_refund_id = covered.stripe_refund_id))
         - greatest((SELECT coalesce(sum(amount_minor), 0) FROM billing_invoicerequest
                     WHERE invoice_id = invoice.id AND kind = 'credit_note' AND state IN ('waiting', 'intended'))
                    - invoice.amount_remaining_minor, 0)
    FROM billing_invoice AS invoice WHERE invoice.id = of_invoice
$$;

-- The payments of the invoice are held in one order, so that two who ask at once see each other.
CREATE FUNCTION billing_require_refunds_within_paid() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    paid billing_payment;
    taken numeric;
    taken_of_invoice numeric;
BEGIN
    SELECT * INTO paid FROM billing_payment WHERE id = NEW.payment_id;
    PERFORM FROM billing_payment WHERE id = NEW.payment_id OR invoice_id = paid.invoice_id ORDER BY id FOR NO KEY UPDATE;
    SELECT * INTO paid FROM billing_payment WHERE id = NEW.payment_id;
    taken := billing_refunded_or_asked(NEW.payment_id);
    IF paid.status <> 'succeeded' OR paid.currency <> NEW.currency OR paid.customer_id <> NEW.customer_id
       OR taken + NEW.amount_minor > paid.amount_minor THEN
        RAISE EXCEPTION 'Payment % of % has % refunded or asked for: % more is too much',
                paid.id, paid.amount_minor, taken, NEW.amount_minor
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'billing_refundrequest_within_paid',
                  TABLE = TG_TABLE_NAME;
    END IF;
    IF paid.invoice_id IS NULL THEN
        RETURN NEW;
    END IF;
    IF EXISTS (SELECT FROM billing_invoiceline WHERE invoice_id = paid.invoice_id AND kind = 'prepaid') THEN
        RAISE EXCEPTION 'Payment % paid for prepaid credit, which a refund would leave usable', paid.id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'billing_refundrequest_not_of_prepaid',
                  TABLE = TG_TABLE_NAME;
    END IF;
    SELECT coalesce(sum(billing_refunded_or_asked(id)), 0) INTO taken_of_invoice
    FROM billing_payment WHERE invoice_id = paid.invoice_id;
    IF taken_of_invoice + NEW.amount_minor > billing_settled_and_not_credited(paid.invoice_id) THEN
        RAISE EXCEPTION 'Of invoice % so much was given back by credit notes or refunds that % more is too much',
                paid.invoice_id, NEW.amount_minor
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'billing_refundrequest_within_paid',
                  TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER billing_refundrequest_within_paid BEFORE INSERT ON billing_refundrequest FOR EACH ROW
    EXECUTE FUNCTION billing_require_refunds_within_paid();


-- What one person was enough for adds up: asking in parts gains nothing.
CREATE FUNCTION billing_require_refunds_alone_within_limit() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    moved_before numeric;
BEGIN
    SELECT coalesce(sum(earlier.amount_minor), 0) INTO moved_before
    FROM billing_refundrequest AS earlier
    WHERE earlier.requested_by = NEW.requested_by AND earlier.customer_id = NEW.customer_id
      AND earlier.currency = NEW.currency AND NOT earlier.needs_second_person
      AND (earlier.requested_at AT TIME ZONE 'UTC')::date = (NEW.requested_at AT TIME ZONE 'UTC')::date;
    IF moved_before + NEW.amount_minor > NEW.limit_minor THEN
        RAISE EXCEPTION '% has refunded % alone on this day: % more is above the limit',
                NEW.requested_by, moved_before, NEW.amount_minor
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'billing_refundrequest_alone',
                  TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER billing_refundrequest_alone_limit BEFORE INSERT ON billing_refundrequest FOR EACH ROW
    WHEN (NOT NEW.needs_second_person)
    EXECUTE FUNCTION billing_require_refunds_alone_within_limit();


-- Answers to disputes.
DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY['billing_disputeevidence', 'billing_disputeacceptance', 'billing_disputeacceptancedecision']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE DELETE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_delete', kept, kept || '_kept');
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_truncate', kept, kept || '_kept');
    END LOOP;
END $$;
CREATE TRIGGER billing_disputeevidence_as_written BEFORE UPDATE ON billing_disputeevidence FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_disputeevidence_as_written', 'sent_by', 'sent_at');
CREATE TRIGGER billing_disputeevidence_sent_stays BEFORE UPDATE ON billing_disputeevidence FOR EACH ROW
    WHEN ((OLD.sent_by <> '' AND NEW.sent_by <> OLD.sent_by)
          OR (OLD.sent_at IS NOT NULL AND NEW.sent_at IS DISTINCT FROM OLD.sent_at))
    EXECUTE FUNCTION billing_refuse('billing_disputeevidence_sent_stays');
CREATE TRIGGER billing_disputeacceptance_as_asked BEFORE UPDATE ON billing_disputeacceptance FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_disputeacceptance_as_asked', 'done_at', 'error');
CREATE TRIGGER billing_disputeacceptancedecision_append_only BEFORE UPDATE ON billing_disputeacceptancedecision FOR EACH ROW
    EXECUTE FUNCTION billing_refuse('billing_disputeacceptancedecision_append_only');
ALTER TABLE billing_disputeacceptance
    ADD CONSTRAINT billing_disputeacceptance_asked UNIQUE (id, requested_by, needs_second_person);
ALTER TABLE billing_disputeacceptancedecision
    ADD CONSTRAINT billing_disputeacceptancedecision_decided_as_asked
        FOREIGN KEY (request_id, requested_by, needs_second_person)
        REFERENCES billing_disputeacceptance (id, requested_by, needs_second_person);
CREATE TRIGGER billing_disputeacceptance_decided_first BEFORE UPDATE ON billing_disputeacceptance FOR EACH ROW
    WHEN (NEW.done_at IS NOT NULL)
    EXECUTE FUNCTION billing_require_agreement('billing_disputeacceptance_decided_first',
        'billing_disputeacceptancedecision');
