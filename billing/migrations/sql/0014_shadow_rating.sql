-- What of a shadow rating may change, and that none of it does once the shadow has ended.

CREATE TRIGGER billing_shadowrating_terms BEFORE UPDATE ON billing_shadowrating FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_shadowrating_terms', 'change_cursor', 'looked_at',
        'complete_at', 'outdated_at', 'ended_at', 'ended_by', 'ended_because');
CREATE TRIGGER billing_shadowrating_ended BEFORE UPDATE ON billing_shadowrating FOR EACH ROW
    WHEN (OLD.ended_at IS NOT NULL)
    EXECUTE FUNCTION billing_refuse('billing_shadowrating_ended');

-- A row is of one period in one shadow; after the period's close it is worked out once more, and stays.
CREATE TRIGGER billing_shadowperiod_of BEFORE UPDATE ON billing_shadowperiod FOR EACH ROW
    WHEN ((OLD.shadow_id, OLD.period_id) IS DISTINCT FROM (NEW.shadow_id, NEW.period_id))
    EXECUTE FUNCTION billing_refuse('billing_shadowperiod_of');
CREATE TRIGGER billing_shadowperiod_final BEFORE UPDATE ON billing_shadowperiod FOR EACH ROW
    WHEN (OLD.is_final)
    EXECUTE FUNCTION billing_refuse('billing_shadowperiod_final');
CREATE TRIGGER billing_shadowpoint_append_only BEFORE UPDATE ON billing_shadowpoint FOR EACH ROW
    EXECUTE FUNCTION billing_refuse('billing_shadowpoint_append_only');

-- What was found is of terms that a decision was made on. The shadow's row is held, so that nobody ends it meanwhile.
CREATE FUNCTION billing_refuse_of_ended_shadow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM billing_shadowrating WHERE id = NEW.shadow_id AND ended_at IS NULL FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'integrity_constraint_violation',
            MESSAGE = format('%s of %s is refused by rule %s', TG_OP, TG_TABLE_NAME, TG_ARGV[0]),
            CONSTRAINT = TG_ARGV[0],
            TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_shadowperiod_live BEFORE INSERT OR UPDATE ON billing_shadowperiod FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_of_ended_shadow('billing_shadowperiod_live');
CREATE TRIGGER billing_shadowpoint_live BEFORE INSERT ON billing_shadowpoint FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_of_ended_shadow('billing_shadowpoint_live');

-- History: no row of these ever goes.
DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY['billing_shadowrating', 'billing_shadowperiod', 'billing_shadowpoint']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE DELETE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_delete', kept, kept || '_kept');
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_truncate', kept, kept || '_kept');
    END LOOP;
END $$;
