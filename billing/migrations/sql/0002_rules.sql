-- Nothing that touched money is edited or deleted (DESIGN §3.3), not even by the owner of the tables.
-- A trigger here refuses, under the name of the rule it keeps; it never computes.

CREATE FUNCTION billing_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'integrity_constraint_violation',
        MESSAGE = format('%s of %s is refused by rule %s', TG_OP, TG_TABLE_NAME, TG_ARGV[0]),
        CONSTRAINT = TG_ARGV[0],
        TABLE = TG_TABLE_NAME;
END $$;

-- Arguments: the rule, then the columns that may change; every other column keeps its value.
CREATE FUNCTION billing_refuse_other_columns() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF to_jsonb(OLD) - TG_ARGV[1:] IS DISTINCT FROM to_jsonb(NEW) - TG_ARGV[1:] THEN
        RAISE EXCEPTION USING
            ERRCODE = 'integrity_constraint_violation',
            MESSAGE = format('UPDATE of %s is refused by rule %s', TG_TABLE_NAME, TG_ARGV[0]),
            CONSTRAINT = TG_ARGV[0],
            TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$;


-- Facts: rows are added and never changed.
DO $$
DECLARE
    fact text;
BEGIN
    FOREACH fact IN ARRAY ARRAY[
        'billing_usageaccrual', 'billing_usageaccrualline', 'billing_grantdrawdown', 'billing_rate',
        'billing_balancetransaction', 'billing_customerbalancetransaction', 'billing_discrepancy',
        'billing_invoiceclosestep']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            fact || '_append_only', fact, fact || '_append_only');
    END LOOP;
END $$;

-- History: no row of these ever goes, whatever of it may change.
DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY[
        'billing_usageaccrual', 'billing_usageaccrualline', 'billing_grantdrawdown', 'billing_rate', 'billing_ratecard',
        'billing_plan', 'billing_planversion', 'billing_balancetransaction', 'billing_customerbalancetransaction',
        'billing_payment', 'billing_discrepancy', 'billing_reconciliationrun', 'billing_invoice', 'billing_invoiceline',
        'billing_invoiceclose', 'billing_invoiceclosestep', 'billing_customer', 'billing_subscription',
        'billing_billingperiod', 'billing_inboxevent', 'billing_outboxintent']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE DELETE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_delete', kept, kept || '_kept');
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_truncate', kept, kept || '_kept');
    END LOOP;
END $$;


-- A customer is known to every other app by its key, and all its money is in one currency.
CREATE TRIGGER billing_customer_identity BEFORE UPDATE ON billing_customer FOR EACH ROW
    WHEN (OLD.customer_key IS DISTINCT FROM NEW.customer_key OR OLD.currency IS DISTINCT FROM NEW.currency)
    EXECUTE FUNCTION billing_refuse('billing_customer_identity');

-- Published terms are promised. They can be retired, and Stripe's price for them is learned once.
CREATE TRIGGER billing_planversion_terms BEFORE UPDATE ON billing_planversion FOR EACH ROW
    WHEN (OLD.status <> 'draft')
    EXECUTE FUNCTION billing_refuse_other_columns('billing_planversion_terms', 'status', 'stripe_price_id');
CREATE TRIGGER billing_planversion_status BEFORE UPDATE ON billing_planversion FOR EACH ROW
    WHEN (OLD.status <> 'draft' AND NEW.status <> OLD.status AND (OLD.status, NEW.status) <> ('published', 'retired'))
    EXECUTE FUNCTION billing_refuse('billing_planversion_status');
CREATE TRIGGER billing_planversion_price BEFORE UPDATE ON billing_planversion FOR EACH ROW
    WHEN (OLD.stripe_price_id IS NOT NULL AND NEW.stripe_price_id IS DISTINCT FROM OLD.stripe_price_id)
    EXECUTE FUNCTION billing_refuse('billing_planversion_price');

-- A period's terms are frozen at its start; it is closed once and stays closed.
CREATE TRIGGER billing_billingperiod_terms BEFORE UPDATE ON billing_billingperiod FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_billingperiod_terms', 'state', 'closed_at');
CREATE TRIGGER billing_billingperiod_closed BEFORE UPDATE ON billing_billingperiod FOR EACH ROW
    WHEN (OLD.state = 'closed' AND (OLD.state, OLD.closed_at) IS DISTINCT FROM (NEW.state, NEW.closed_at))
    EXECUTE FUNCTION billing_refuse('billing_billingperiod_closed');

-- A line is written before it is pushed; then it learns Stripe's id, once.
CREATE TRIGGER billing_invoiceline_written BEFORE UPDATE ON billing_invoiceline FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_invoiceline_written', 'stripe_line_id');
CREATE TRIGGER billing_invoiceline_pushed BEFORE UPDATE ON billing_invoiceline FOR EACH ROW
    WHEN (OLD.stripe_line_id IS NOT NULL AND NEW.stripe_line_id IS DISTINCT FROM OLD.stripe_line_id)
    EXECUTE FUNCTION billing_refuse('billing_invoiceline_pushed');

-- What was intended is what is sent, however often; an outcome stays.
CREATE TRIGGER billing_outboxintent_intent BEFORE UPDATE ON billing_outboxintent FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_outboxintent_intent', 'state', 'attempts', 'first_sent_at',
        'finished_at', 'stripe_object_id', 'request_id', 'error');
CREATE TRIGGER billing_outboxintent_finished BEFORE UPDATE ON billing_outboxintent FOR EACH ROW
    WHEN (OLD.state <> 'intended'
          AND (OLD.state, OLD.finished_at, OLD.stripe_object_id)
              IS DISTINCT FROM (NEW.state, NEW.finished_at, NEW.stripe_object_id))
    EXECUTE FUNCTION billing_refuse('billing_outboxintent_finished');
