-- Usage that goes through Stripe's meters. The rules, by name:
--
--   …_append_only, …_kept                       prices, withdrawals and summaries are facts; nothing is removed
--   billing_meteredevent_terms                  what was written down is what is sent; only what Stripe says of it is learned
--   billing_meteredevent_ends                   an event is under way, then taken; what does not count stays so
--   billing_meteredevent_of_its_period          its time lies within the period, and its price is of the period's terms
--   billing_meteredevent_minute                 no two events of a customer's price bear the same minute
--   billing_meteredevent_adds_up                the next number, and the sum of all that count
--   billing_meteredevent_before_comparison      once a close was compared with Stripe its meters are not moved
--   billing_invoiceline_metered_rate            a metered price brings the usage of its own rate
--   billing_invoiceclose_metered                never both, never neither: no close is compared whose metered lines are not,
--                                               to the increment, what was sent, or that leaves anything on another meter

DO $$
DECLARE
    fact text;
BEGIN
    FOREACH fact IN ARRAY ARRAY['billing_meteredprice', 'billing_meteredwithdrawal', 'billing_meteredsummary']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            fact || '_append_only', fact, fact || '_append_only');
    END LOOP;
    FOREACH fact IN ARRAY ARRAY[
        'billing_meteredprice', 'billing_meteredevent', 'billing_meteredwithdrawal', 'billing_meteredsummary']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE DELETE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            fact || '_no_delete', fact, fact || '_kept');
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse(%L)',
            fact || '_no_truncate', fact, fact || '_kept');
    END LOOP;
END $$;

CREATE TRIGGER billing_meteredevent_terms BEFORE UPDATE ON billing_meteredevent FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_meteredevent_terms', 'state', 'error', 'answered_at');
CREATE TRIGGER billing_meteredevent_ends BEFORE UPDATE ON billing_meteredevent FOR EACH ROW
    WHEN (OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (
        ('intended', 'accepted'), ('intended', 'not_counted'), ('accepted', 'not_counted')))
    EXECUTE FUNCTION billing_refuse('billing_meteredevent_ends');

CREATE FUNCTION billing_refuse_metered_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    rule text;
    period billing_billingperiod;
    last_number integer;
    counted bigint;
BEGIN
    -- Held against a close that is compared at this moment.
    SELECT * INTO period FROM billing_billingperiod WHERE id = NEW.period_id FOR SHARE;
    SELECT coalesce(max(number), 0), coalesce(sum(units) FILTER (WHERE state <> 'not_counted'), 0)
      INTO last_number, counted
      FROM billing_meteredevent WHERE period_id = NEW.period_id AND price_id = NEW.price_id;
    IF NEW.minute_at < period.starts_at OR NEW.minute_at + interval '1 minute' > period.ends_at
            OR date_trunc('minute', NEW.minute_at) <> NEW.minute_at
            OR NOT EXISTS (SELECT FROM billing_meteredprice price
                            WHERE price.id = NEW.price_id AND price.plan_version_id = period.plan_version_id) THEN
        rule := 'billing_meteredevent_of_its_period';
    ELSIF EXISTS (SELECT FROM billing_meteredevent event
                    JOIN billing_billingperiod other ON other.id = event.period_id
                   WHERE event.price_id = NEW.price_id AND event.minute_at = NEW.minute_at
                     AND other.subscription_id = period.subscription_id) THEN
        rule := 'billing_meteredevent_minute';
    ELSIF NEW.number <> last_number + 1 OR NEW.total_units <> counted + NEW.units OR NEW.state <> 'intended' THEN
        rule := 'billing_meteredevent_adds_up';
    ELSIF EXISTS (SELECT FROM billing_invoiceclosestep step
                    JOIN billing_invoiceclose done ON done.id = step.close_id
                    JOIN billing_billingperiod closed ON closed.id = done.period_id
                   WHERE step.step = 'verified' AND closed.subscription_id = period.subscription_id
                     AND closed.ends_at >= period.ends_at) THEN
        rule := 'billing_meteredevent_before_comparison';
    ELSE
        RETURN NEW;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'integrity_constraint_violation',
        MESSAGE = format('%s of %s is refused by rule %s', TG_OP, TG_TABLE_NAME, rule),
        CONSTRAINT = rule,
        TABLE = TG_TABLE_NAME;
END $$;
CREATE TRIGGER billing_meteredevent_insert BEFORE INSERT ON billing_meteredevent FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_metered_event();

ALTER TABLE billing_meteredprice ADD CONSTRAINT billing_meteredprice_of_rate UNIQUE (id, rate_id);
ALTER TABLE billing_invoiceline
    ADD CONSTRAINT billing_invoiceline_metered_rate FOREIGN KEY (metered_price_id, rate_id)
        REFERENCES billing_meteredprice (id, rate_id);

CREATE FUNCTION billing_refuse_close_beside_meters() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ended billing_billingperiod;
BEGIN
    SELECT period.* INTO ended
      FROM billing_invoiceclose done JOIN billing_billingperiod period ON period.id = done.period_id
     WHERE done.id = NEW.close_id;
    IF ended.id IS NULL THEN
        RETURN NEW;
    END IF;
    PERFORM FROM billing_billingperiod
      WHERE subscription_id = ended.subscription_id AND ends_at <= ended.ends_at
        AND EXISTS (SELECT FROM billing_meteredprice price WHERE price.plan_version_id = billing_billingperiod.plan_version_id)
      ORDER BY id FOR NO KEY UPDATE;
    IF EXISTS (
        SELECT FROM billing_invoiceclose done
          JOIN billing_invoiceline line ON line.invoice_id = done.invoice_id
          JOIN billing_meteredprice price ON price.id = line.metered_price_id
         WHERE done.id = NEW.close_id
           -- With what Stripe billed of the period before, on an invoice of its own; nothing is under way.
           AND (EXISTS (
               SELECT FROM billing_meteredevent event
                WHERE event.period_id = line.period_id AND event.price_id = price.id AND event.state = 'intended')
             OR (SELECT sum(billed.amount_minor) FROM billing_invoiceline billed
                  JOIN billing_invoice invoice ON invoice.id = billed.invoice_id
                 WHERE billed.period_id = line.period_id AND billed.metered_price_id = price.id
                   AND invoice.status <> 'void') <> price.unit_minor * (
               SELECT coalesce(sum(event.units), 0) FROM billing_meteredevent event
                WHERE event.period_id = line.period_id AND event.price_id = price.id AND event.state <> 'not_counted'))
    ) OR EXISTS (
        SELECT FROM billing_meteredevent event
          JOIN billing_billingperiod period ON period.id = event.period_id
         WHERE period.subscription_id = ended.subscription_id AND period.ends_at <= ended.ends_at
           AND event.state <> 'not_counted'
           AND NOT EXISTS (
               SELECT FROM billing_invoiceclose done
                 JOIN billing_invoiceline line ON line.invoice_id = done.invoice_id
                WHERE done.id = NEW.close_id AND line.period_id = event.period_id
                  AND line.metered_price_id = event.price_id)
           -- What Stripe billed by itself is asked for already.
           AND NOT EXISTS (
               SELECT FROM billing_invoiceline line JOIN billing_invoice invoice ON invoice.id = line.invoice_id
                WHERE line.period_id = event.period_id AND line.metered_price_id = event.price_id
                  AND invoice.finalized_at IS NOT NULL AND invoice.status <> 'void')
           -- So is a cycle whose invoice Stripe finalised without us: its meters are billed by nothing any more.
           AND NOT EXISTS (
               SELECT FROM billing_invoiceclose done
                 JOIN billing_billingperiod closed ON closed.id = done.period_id
                 JOIN billing_invoice invoice ON invoice.id = done.invoice_id
                WHERE done.id <> NEW.close_id AND closed.subscription_id = period.subscription_id
                  AND closed.ends_at >= period.ends_at AND invoice.finalized_at IS NOT NULL)
           -- What an earlier close was compared with is settled.
           AND NOT EXISTS (
               SELECT FROM billing_invoiceclosestep step
                 JOIN billing_invoiceclose done ON done.id = step.close_id
                 JOIN billing_billingperiod closed ON closed.id = done.period_id
                WHERE step.step = 'verified' AND closed.subscription_id = period.subscription_id
                  AND closed.ends_at >= period.ends_at)
         GROUP BY event.period_id, event.price_id
        HAVING sum(event.units) <> 0 OR bool_or(event.state = 'intended')
    ) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'integrity_constraint_violation',
            MESSAGE = 'INSERT of billing_invoiceclosestep is refused by rule billing_invoiceclose_metered',
            CONSTRAINT = 'billing_invoiceclose_metered',
            TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_invoiceclose_metered BEFORE INSERT ON billing_invoiceclosestep FOR EACH ROW
    WHEN (NEW.step = 'verified')
    EXECUTE FUNCTION billing_refuse_close_beside_meters();
