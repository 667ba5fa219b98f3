-- A trigger here refuses, under the name of the rule it keeps; it never computes.

-- Facts: rows are added and never changed, and no row ever goes.
DO $$
DECLARE
    fact text;
BEGIN
    FOREACH fact IN ARRAY ARRAY['billing_endpreview', 'billing_endoutcome'] LOOP
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

-- Only a preview of a cancellation says what an end comes to.
CREATE FUNCTION billing_refuse_end_of_other_preview() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM billing_changepreview WHERE id = NEW.preview_id AND kind = 'cancellation') THEN
        PERFORM billing_refused('billing_endpreview_of_cancellation', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_endpreview_of_cancellation BEFORE INSERT ON billing_endpreview FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_end_of_other_preview();

-- Whose a subscription is and when it began were agreed once. When its trial ends may be moved at Stripe, while it is
-- in that trial; whether it has one may not.
DROP TRIGGER billing_subscription_agreed ON billing_subscription;
CREATE TRIGGER billing_subscription_agreed BEFORE UPDATE ON billing_subscription FOR EACH ROW
    WHEN (NEW.customer_id <> OLD.customer_id OR NEW.started_at <> OLD.started_at
          OR NEW.trial_ends_at IS DISTINCT FROM OLD.trial_ends_at
             AND (OLD.trial_ends_at IS NULL OR NEW.trial_ends_at IS NULL OR OLD.ended_at IS NOT NULL
                  OR OLD.stripe_subscription_id IS NULL OR OLD.status NOT IN ('pending', 'trialing', 'paused')))
    EXECUTE FUNCTION billing_refuse('billing_subscription_agreed');

-- As in 0017, and a trial may be cut where something shorter goes on: one of months that was made days at Stripe.
CREATE OR REPLACE FUNCTION billing_refuse_unfinished_cut() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM billing_billingperiod rest
                    WHERE rest.subscription_id = NEW.subscription_id AND rest.starts_at = NEW.ends_at
                      AND (rest.ends_at >= OLD.ends_at OR OLD.kind = 'trial' OR EXISTS (
                          -- One that goes on was cut in its turn by the end of the subscription.
                          SELECT FROM billing_subscription ended
                           WHERE ended.id = NEW.subscription_id AND ended.ended_at <= rest.ends_at)))
       AND NOT EXISTS (SELECT FROM billing_subscription ended
                        WHERE ended.id = NEW.subscription_id AND ended.ended_at <= NEW.ends_at)
       AND EXISTS (SELECT FROM billing_billingperiod WHERE id = NEW.id AND ends_at = NEW.ends_at) THEN
        PERFORM billing_refused('billing_billingperiod_cut', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NULL;
END $$;
