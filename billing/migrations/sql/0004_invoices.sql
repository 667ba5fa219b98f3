-- What a line learns once it is finalised, and what of credit notes, prepaid credit and absorbed usage may change.

-- Arguments: the rule, then columns that are learned once: from their empty value (null or 0) to another, and no further.
CREATE FUNCTION billing_refuse_second_value() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    learned text;
BEGIN
    FOREACH learned IN ARRAY TG_ARGV[1:] LOOP
        IF coalesce(to_jsonb(OLD) ->> learned, '0') <> '0'
                AND to_jsonb(OLD) ->> learned IS DISTINCT FROM to_jsonb(NEW) ->> learned THEN
            RAISE EXCEPTION USING
                ERRCODE = 'integrity_constraint_violation',
                MESSAGE = format('UPDATE of %s is refused by rule %s', TG_TABLE_NAME, TG_ARGV[0]),
                CONSTRAINT = TG_ARGV[0],
                TABLE = TG_TABLE_NAME;
        END IF;
    END LOOP;
    RETURN NEW;
END $$;

-- A line also learns Stripe's discount and tax on it, once.
DROP TRIGGER billing_invoiceline_written ON billing_invoiceline;
CREATE TRIGGER billing_invoiceline_written BEFORE UPDATE ON billing_invoiceline FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_invoiceline_written', 'stripe_line_id', 'discount_minor',
        'exclusive_tax_minor', 'inclusive_tax_minor');
CREATE TRIGGER billing_invoiceline_finalized BEFORE UPDATE ON billing_invoiceline FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_second_value('billing_invoiceline_finalized', 'discount_minor',
        'exclusive_tax_minor', 'inclusive_tax_minor');

-- A credit note says what it says; it may become void, and be unwound, once.
CREATE TRIGGER billing_creditnote_terms BEFORE UPDATE ON billing_creditnote FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_creditnote_terms', 'status', 'memo', 'voided_at',
        'unwound_at', 'projected_at');
CREATE TRIGGER billing_creditnote_void BEFORE UPDATE ON billing_creditnote FOR EACH ROW
    WHEN (OLD.status = 'void' AND NEW.status <> 'void')
    EXECUTE FUNCTION billing_refuse('billing_creditnote_void');
CREATE TRIGGER billing_creditnote_unwound BEFORE UPDATE ON billing_creditnote FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_second_value('billing_creditnote_unwound', 'unwound_at', 'voided_at');

-- What prepaid credit buys is agreed before it is paid; then its grants are named, once.
CREATE TRIGGER billing_prepaidpurchase_terms BEFORE UPDATE ON billing_prepaidpurchase FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_prepaidpurchase_terms', 'grant_id', 'bonus_grant_id');
CREATE TRIGGER billing_prepaidpurchase_granted BEFORE UPDATE ON billing_prepaidpurchase FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_second_value('billing_prepaidpurchase_granted', 'grant_id', 'bonus_grant_id');

-- Facts: rows are added and never changed.
CREATE TRIGGER billing_creditnoteline_append_only BEFORE UPDATE ON billing_creditnoteline FOR EACH ROW
    EXECUTE FUNCTION billing_refuse('billing_creditnoteline_append_only');
CREATE TRIGGER billing_absorbedusage_append_only BEFORE UPDATE ON billing_absorbedusage FOR EACH ROW
    EXECUTE FUNCTION billing_refuse('billing_absorbedusage_append_only');

-- History: no row of these ever goes.
DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY[
        'billing_creditnote', 'billing_creditnoteline', 'billing_prepaidpurchase', 'billing_absorbedusage']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE DELETE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_delete', kept, kept || '_kept');
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_truncate', kept, kept || '_kept');
    END LOOP;
END $$;
