-- What of an intent may change once it is written, and that tries and the database's account never do.

DROP TRIGGER billing_outboxintent_intent ON billing_outboxintent;
DROP TRIGGER billing_outboxintent_finished ON billing_outboxintent;

-- What was intended is what is sent, however often.
CREATE TRIGGER billing_outboxintent_intent BEFORE UPDATE ON billing_outboxintent FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_outboxintent_intent', 'state', 'attempts', 'first_sent_at',
        'finished_at', 'stripe_object_id', 'request_id', 'error', 'generation', 'sending_since');
-- An outcome stays. Only what Stripe refused may be begun again under a new key, be found carried out after all, or be
-- given up.
CREATE TRIGGER billing_outboxintent_finished BEFORE UPDATE ON billing_outboxintent FOR EACH ROW
    WHEN (OLD.state <> 'intended'
          AND (OLD.state, OLD.finished_at, OLD.stripe_object_id)
              IS DISTINCT FROM (NEW.state, NEW.finished_at, NEW.stripe_object_id)
          AND NOT (OLD.state = 'refused' AND NEW.state = 'intended' AND NEW.generation = OLD.generation + 1
                   AND NEW.finished_at IS NULL)
          AND NOT (OLD.state = 'refused' AND NEW.state = 'succeeded' AND NEW.stripe_object_id <> '')
          AND NOT (OLD.state = 'refused' AND NEW.state IN ('superseded', 'abandoned')
                   AND NEW.stripe_object_id = OLD.stripe_object_id))
    EXECUTE FUNCTION billing_refuse('billing_outboxintent_finished');
-- Keys come one after another, each with its own first sending; what is finished gets none.
CREATE TRIGGER billing_outboxintent_generation BEFORE UPDATE ON billing_outboxintent FOR EACH ROW
    WHEN (NEW.generation <> OLD.generation
          AND (NEW.generation <> OLD.generation + 1 OR NEW.state <> 'intended' OR NEW.first_sent_at IS NULL))
    EXECUTE FUNCTION billing_refuse('billing_outboxintent_generation');
-- From the first sending Stripe's memory of the key is reckoned: a later one would let an old write be sent blindly.
CREATE TRIGGER billing_outboxintent_first_sent BEFORE UPDATE ON billing_outboxintent FOR EACH ROW
    WHEN (OLD.first_sent_at IS NOT NULL AND NEW.first_sent_at IS DISTINCT FROM OLD.first_sent_at
          AND NEW.generation = OLD.generation)
    EXECUTE FUNCTION billing_refuse('billing_outboxintent_first_sent');

-- History: no row of these changes or goes.
DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY['billing_outboxattempt', 'billing_stripeaccount']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_append_only', kept, kept || '_append_only');
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE DELETE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_delete', kept, kept || '_kept');
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_truncate', kept, kept || '_kept');
    END LOOP;
END $$;
