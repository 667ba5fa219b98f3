-- A trigger here refuses, under the name of the rule it keeps; it never computes.

-- Nobody has terms that were never promised, an add-on in the place of a plan, a contract of somebody else, or a price
-- in a currency they do not pay in. Versions that were retired since stay with those who have them.
CREATE FUNCTION billing_refuse_terms_not_offered() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    payer bigint;
    offered boolean;
BEGIN
    IF TG_TABLE_NAME = 'billing_subscription' THEN
        payer := NEW.customer_id;
    ELSE
        SELECT customer_id INTO payer FROM billing_subscription WHERE id = NEW.subscription_id;
    END IF;
    SELECT version.published_at IS NOT NULL
           AND (version.only_for_id IS NULL OR version.only_for_id = payer)
           AND version.currency = customer.currency
           AND plan.is_add_on = (TG_TABLE_NAME = 'billing_subscriptionaddon')
      INTO offered
      FROM billing_planversion version
      JOIN billing_plan plan ON plan.id = version.plan_id
      JOIN billing_customer customer ON customer.id = payer
     WHERE version.id = NEW.plan_version_id;
    -- A row that names nothing is refused by its foreign key.
    IF NOT coalesce(offered, true) THEN
        PERFORM billing_refused(TG_ARGV[0], TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_subscription_offered BEFORE INSERT OR UPDATE OF plan_version_id, customer_id
    ON billing_subscription FOR EACH ROW EXECUTE FUNCTION billing_refuse_terms_not_offered('billing_subscription_offered');
CREATE TRIGGER billing_subscriptionaddon_offered BEFORE INSERT ON billing_subscriptionaddon FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_terms_not_offered('billing_subscriptionaddon_offered');

-- Whose a subscription is, when it began and how long its trial is were agreed once.
CREATE TRIGGER billing_subscription_agreed BEFORE UPDATE ON billing_subscription FOR EACH ROW
    WHEN (NEW.customer_id <> OLD.customer_id OR NEW.started_at <> OLD.started_at
          OR NEW.trial_ends_at IS DISTINCT FROM OLD.trial_ends_at)
    EXECUTE FUNCTION billing_refuse('billing_subscription_agreed');

-- A period begins open, and exactly where another one of its subscription ends: none overlap (an exclusion constraint),
-- and nothing lies between two. The subscription's row is held, so that two do not begin at the same end.
CREATE FUNCTION billing_refuse_gap() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM billing_subscription WHERE id = NEW.subscription_id FOR NO KEY UPDATE;
    IF EXISTS (SELECT FROM billing_billingperiod WHERE subscription_id = NEW.subscription_id AND id <> NEW.id)
       AND NOT EXISTS (SELECT FROM billing_billingperiod
                        WHERE subscription_id = NEW.subscription_id AND ends_at = NEW.starts_at) THEN
        PERFORM billing_refused('billing_billingperiod_gapless', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER billing_billingperiod_gapless AFTER INSERT ON billing_billingperiod FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_gap();
CREATE TRIGGER billing_billingperiod_begins BEFORE INSERT ON billing_billingperiod FOR EACH ROW
    WHEN (NEW.state <> 'open') EXECUTE FUNCTION billing_refuse('billing_billingperiod_begins');

-- Frozen terms stay frozen. An open period whose terms change ends sooner, and another one goes on to the same end: it
-- has to be there when the transaction commits.
DROP TRIGGER billing_billingperiod_terms ON billing_billingperiod;
CREATE TRIGGER billing_billingperiod_terms BEFORE UPDATE ON billing_billingperiod FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_billingperiod_terms', 'state', 'closed_at', 'ends_at');
CREATE TRIGGER billing_billingperiod_terms_end BEFORE UPDATE ON billing_billingperiod FOR EACH ROW
    WHEN (NEW.ends_at > OLD.ends_at OR NEW.ends_at < OLD.ends_at AND (OLD.state <> 'open' OR NEW.state <> 'open'))
    EXECUTE FUNCTION billing_refuse('billing_billingperiod_terms');
CREATE FUNCTION billing_refuse_unfinished_cut() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM billing_billingperiod rest
                    WHERE rest.subscription_id = NEW.subscription_id AND rest.starts_at = NEW.ends_at
                      AND rest.ends_at = OLD.ends_at)
       AND EXISTS (SELECT FROM billing_billingperiod WHERE id = NEW.id AND ends_at = NEW.ends_at) THEN
        PERFORM billing_refused('billing_billingperiod_cut', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER billing_billingperiod_cut AFTER UPDATE OF ends_at ON billing_billingperiod
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.ends_at < OLD.ends_at)
    EXECUTE FUNCTION billing_refuse_unfinished_cut();

-- What a period includes, and whose prices it has, is known when it opens. The argument names the rule.
CREATE FUNCTION billing_refuse_for_closed_period() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM billing_billingperiod WHERE id = NEW.period_id AND state <> 'open';
    IF FOUND THEN
        PERFORM billing_refused(TG_ARGV[0], TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_periodallowance_open BEFORE INSERT ON billing_periodallowance FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_for_closed_period('billing_periodallowance_open');
CREATE TRIGGER billing_periodaddon_open BEFORE INSERT ON billing_periodaddon FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_for_closed_period('billing_periodaddon_open');
