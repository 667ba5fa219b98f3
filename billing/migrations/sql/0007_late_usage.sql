-- What of late usage and its documents may change.

-- Why a closed period was accrued again is a fact; what came of it is learned, and stays once it is settled.
CREATE TRIGGER billing_lateusage_facts BEFORE UPDATE ON billing_lateusage FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_lateusage_facts', 'state', 'outcome', 'settled_by',
        'settled_at', 'invoice_id');
CREATE TRIGGER billing_lateusage_settled BEFORE UPDATE ON billing_lateusage FOR EACH ROW
    WHEN (OLD.state = 'settled')
    EXECUTE FUNCTION billing_refuse('billing_lateusage_settled');

-- A document is intended with its lines; its request, outcome and what it became are learned once.
CREATE TRIGGER billing_latecorrection_intent BEFORE UPDATE ON billing_latecorrection FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_latecorrection_intent', 'state', 'request', 'error',
        'invoice_id', 'credit_note_id', 'finished_at');
CREATE TRIGGER billing_latecorrection_learned BEFORE UPDATE ON billing_latecorrection FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_second_value('billing_latecorrection_learned', 'request', 'invoice_id',
        'credit_note_id', 'finished_at');
CREATE TRIGGER billing_latecreditline_append_only BEFORE UPDATE ON billing_latecreditline FOR EACH ROW
    EXECUTE FUNCTION billing_refuse('billing_latecreditline_append_only');

-- History: no row of these ever goes.
DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY[
        'billing_lateusage', 'billing_latecorrection', 'billing_latecreditline', 'billing_lateprogress']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE DELETE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_delete', kept, kept || '_kept');
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_truncate', kept, kept || '_kept');
    END LOOP;
END $$;
