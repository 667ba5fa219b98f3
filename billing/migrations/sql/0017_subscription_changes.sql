-- A trigger here refuses, under the name of the rule it keeps; it never computes.

-- Which of two looks at Stripe is the newer one: asked for before the look, so that an answer which was slow to come
-- never overwrites what was seen after it.
CREATE SEQUENCE billing_subscription_reading;

-- Facts: rows are added and never changed.
DO $$
DECLARE
    fact text;
BEGIN
    FOREACH fact IN ARRAY ARRAY[
        'billing_apiwrite', 'billing_changepreview', 'billing_changepreviewline', 'billing_changeoutcome',
        'billing_subscriptionrequest', 'billing_subscriptionevent']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            fact || '_append_only', fact, fact || '_append_only');
    END LOOP;
END $$;

-- History: no row of these ever goes.
DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY[
        'billing_apiwrite', 'billing_changepreview', 'billing_changepreviewline', 'billing_changeoutcome',
        'billing_subscriptionrequest', 'billing_subscriptionevent', 'billing_scheduledchange']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE DELETE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_delete', kept, kept || '_kept');
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_truncate', kept, kept || '_kept');
    END LOOP;
END $$;

-- A scheduled change keeps what it is and when; it is settled once, and then nothing of it changes.
CREATE TRIGGER billing_scheduledchange_terms BEFORE UPDATE ON billing_scheduledchange FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_scheduledchange_terms', 'state', 'next_attempt_at',
        'settled_at', 'settled_by', 'detail');
CREATE TRIGGER billing_scheduledchange_settled BEFORE UPDATE ON billing_scheduledchange FOR EACH ROW
    WHEN (OLD.state <> 'waiting')
    EXECUTE FUNCTION billing_refuse('billing_scheduledchange_settled');
CREATE TRIGGER billing_scheduledchange_begins BEFORE INSERT ON billing_scheduledchange FOR EACH ROW
    WHEN (NEW.state <> 'waiting')
    EXECUTE FUNCTION billing_refuse('billing_scheduledchange_begins');

-- A line of a preview is of the preview as it was made, but for what was invoiced, which is known later.
CREATE FUNCTION billing_refuse_line_of_known_outcome() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM billing_changeoutcome WHERE preview_id = NEW.preview_id) THEN
        PERFORM billing_refused('billing_changepreviewline_known', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_changepreviewline_known BEFORE INSERT ON billing_changepreviewline FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_line_of_known_outcome();

-- What has ended stays so, at the instant at which it ended, and a reading never goes backwards.
CREATE TRIGGER billing_subscription_ended BEFORE UPDATE ON billing_subscription FOR EACH ROW
    WHEN (OLD.ended_at IS NOT NULL AND (NEW.ended_at IS DISTINCT FROM OLD.ended_at OR NEW.status <> OLD.status))
    EXECUTE FUNCTION billing_refuse('billing_subscription_ended');
CREATE TRIGGER billing_subscription_reading BEFORE UPDATE OF last_reading ON billing_subscription FOR EACH ROW
    WHEN (NEW.last_reading < OLD.last_reading)
    EXECUTE FUNCTION billing_refuse('billing_subscription_reading');

-- An open period is cut where another one goes on, at least to the same end (a billing date that was moved may make it
-- end later), or where its subscription ended: never before that.
CREATE OR REPLACE FUNCTION billing_refuse_unfinished_cut() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM billing_billingperiod rest
                    WHERE rest.subscription_id = NEW.subscription_id AND rest.starts_at = NEW.ends_at
                      AND (rest.ends_at >= OLD.ends_at OR EXISTS (
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

-- Stripe counts from when it is told: the first period may end later when the two are bound, in that transaction only.
DROP TRIGGER billing_billingperiod_terms_end ON billing_billingperiod;
CREATE TRIGGER billing_billingperiod_terms_end BEFORE UPDATE ON billing_billingperiod FOR EACH ROW
    WHEN (NEW.ends_at <> OLD.ends_at AND (OLD.state <> 'open' OR NEW.state <> 'open'))
    EXECUTE FUNCTION billing_refuse('billing_billingperiod_terms');
CREATE FUNCTION billing_refuse_longer_period() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM billing_subscription
                    WHERE id = NEW.subscription_id AND stripe_subscription_id IS NULL AND ended_at IS NULL)
       OR EXISTS (SELECT FROM billing_billingperiod WHERE subscription_id = NEW.subscription_id AND id <> NEW.id) THEN
        PERFORM billing_refused('billing_billingperiod_terms', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_billingperiod_longer BEFORE UPDATE ON billing_billingperiod FOR EACH ROW
    WHEN (NEW.ends_at > OLD.ends_at) EXECUTE FUNCTION billing_refuse_longer_period();
CREATE FUNCTION billing_refuse_longer_unbound_period() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM billing_subscription WHERE id = NEW.subscription_id AND stripe_subscription_id IS NULL) THEN
        PERFORM billing_refused('billing_billingperiod_terms', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER billing_billingperiod_longer_bound AFTER UPDATE OF ends_at ON billing_billingperiod
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.ends_at > OLD.ends_at)
    EXECUTE FUNCTION billing_refuse_longer_unbound_period();

-- Nothing begins after the end.
CREATE FUNCTION billing_refuse_period_after_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM billing_subscription WHERE id = NEW.subscription_id AND ended_at <= NEW.starts_at) THEN
        PERFORM billing_refused('billing_billingperiod_after_end', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_billingperiod_after_end BEFORE INSERT ON billing_billingperiod FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_period_after_end();
