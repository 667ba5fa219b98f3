-- What of refunds, disputes and payouts may change: Stripe's status and what it tells later, never whose money it is.

CREATE TRIGGER billing_refund_terms BEFORE UPDATE ON billing_refund FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_refund_terms', 'status', 'reason', 'failure_reason',
        'sent_at', 'returned_at', 'projected_at');
CREATE TRIGGER billing_refund_moved BEFORE UPDATE ON billing_refund FOR EACH ROW
    WHEN (OLD.sent_at IS NOT NULL AND NEW.sent_at IS DISTINCT FROM OLD.sent_at
          OR OLD.returned_at IS NOT NULL AND NEW.returned_at IS DISTINCT FROM OLD.returned_at)
    EXECUTE FUNCTION billing_refuse('billing_refund_moved');

CREATE TRIGGER billing_dispute_terms BEFORE UPDATE ON billing_dispute FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_dispute_terms', 'status', 'amount_minor', 'reason',
        'respond_by', 'closed_at', 'lost_minor', 'loss_count', 'projected_at');

CREATE TRIGGER billing_payout_terms BEFORE UPDATE ON billing_payout FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_payout_terms', 'status', 'failure_code', 'failure_message',
        'expected_at', 'arrived_at', 'returned_at', 'projected_at');
CREATE TRIGGER billing_payout_moved BEFORE UPDATE ON billing_payout FOR EACH ROW
    WHEN (OLD.arrived_at IS NOT NULL AND NEW.arrived_at IS DISTINCT FROM OLD.arrived_at
          OR OLD.returned_at IS NOT NULL AND NEW.returned_at IS DISTINCT FROM OLD.returned_at)
    EXECUTE FUNCTION billing_refuse('billing_payout_moved');

-- A fact: rows are added and never changed.
CREATE TRIGGER billing_creditnoterefund_append_only BEFORE UPDATE ON billing_creditnoterefund FOR EACH ROW
    EXECUTE FUNCTION billing_refuse('billing_creditnoterefund_append_only');

-- History: no row of these ever goes.
DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY['billing_refund', 'billing_dispute', 'billing_payout', 'billing_creditnoterefund']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE DELETE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_delete', kept, kept || '_kept');
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_truncate', kept, kept || '_kept');
    END LOOP;
END $$;
