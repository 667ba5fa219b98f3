-- Usage that Stripe left off an invoice, discounts line by line, and bank accounts that were closed. The rules, by name:
--
--   …_append_only, …_kept                       all four tables are facts
--   billing_linediscount_adds_up                the discounts of a line come to what was taken off it
--   billing_meteredshortfall_of_its_close       an event that does not count, of a period that its close answers for
--   billing_meteredevent_before_comparison      as before; but what brings the meter of a compared draft back to what
--                                               its line says may still be sent, once Stripe said that it lacks it and before
--                                               a person decided about that
--   billing_invoiceclose_metered                as before, and says in words which line, what was sent, what Stripe says
--   billing_invoiceline_left_off                a metered line charges another amount only once a person decided about what
--                                               Stripe left off, and then exactly what counts at its meter; never
--                                               of an invoice that is in the ledger
--   billing_bankline_after_closing              a closed account has no line of a later day
--   billing_bankaccountclosing_before_lines     an account is not closed before a line that it has

DO $$
DECLARE
    fact text;
BEGIN
    FOREACH fact IN ARRAY ARRAY['billing_meteredshortfall', 'billing_meteredshortfalldecision',
        'billing_bankaccountclosing', 'billing_invoicelinediscount']
    LOOP
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

CREATE FUNCTION billing_require_line_discounts() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF (SELECT sum(amount_minor) FROM billing_invoicelinediscount WHERE line_id = NEW.line_id)
            <> (SELECT discount_minor FROM billing_invoiceline WHERE id = NEW.line_id) THEN
        RAISE EXCEPTION 'The discounts of line % do not come to what was taken off it', NEW.line_id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'billing_linediscount_adds_up',
                  TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER billing_linediscount_adds_up AFTER INSERT ON billing_invoicelinediscount
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing_require_line_discounts();

CREATE FUNCTION billing_refuse_metered_shortfall() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM billing_meteredevent event
          JOIN billing_meteredprice price ON price.id = event.price_id
          JOIN billing_billingperiod period ON period.id = event.period_id
          JOIN billing_invoiceclose done ON done.id = NEW.close_id
          JOIN billing_billingperiod closed ON closed.id = done.period_id
         WHERE event.id = NEW.event_id AND event.state = 'not_counted'
           AND NEW.amount_minor = event.units * price.unit_minor
           AND closed.subscription_id = period.subscription_id AND closed.ends_at >= period.ends_at
           AND EXISTS (SELECT FROM billing_invoiceclosestep step WHERE step.close_id = done.id AND step.step = 'verified'))
    THEN
        RAISE EXCEPTION 'Event % is none that was compared with close % and does not count', NEW.event_id, NEW.close_id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'billing_meteredshortfall_of_its_close',
                  TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_meteredshortfall_of_its_close BEFORE INSERT ON billing_meteredshortfall FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_metered_shortfall();

CREATE FUNCTION billing_refuse_bank_line_after_closing() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    last_day date;
BEGIN
    IF TG_TABLE_NAME = 'billing_bankaccountclosing' THEN
        -- Against an import at this moment.
        PERFORM FROM billing_bankaccount WHERE id = NEW.account_id FOR NO KEY UPDATE;
        IF EXISTS (SELECT FROM billing_bankline WHERE account_id = NEW.account_id AND booked_on > NEW.closed_on) THEN
            RAISE EXCEPTION 'Account % has lines after %', NEW.account_id, NEW.closed_on
                USING ERRCODE = 'integrity_constraint_violation',
                      CONSTRAINT = 'billing_bankaccountclosing_before_lines', TABLE = TG_TABLE_NAME;
        END IF;
        RETURN NEW;
    END IF;
    PERFORM FROM billing_bankaccount WHERE id = NEW.account_id FOR SHARE;
    SELECT closed_on INTO last_day FROM billing_bankaccountclosing WHERE account_id = NEW.account_id
     ORDER BY id DESC LIMIT 1;
    IF NEW.booked_on > last_day THEN
        RAISE EXCEPTION 'Account % was closed on %: it has no line of %', NEW.account_id, last_day, NEW.booked_on
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'billing_bankline_after_closing',
                  TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_bankline_after_closing BEFORE INSERT ON billing_bankline FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_bank_line_after_closing();
CREATE TRIGGER billing_bankaccountclosing_before_lines BEFORE INSERT ON billing_bankaccountclosing FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_bank_line_after_closing();

CREATE OR REPLACE FUNCTION billing_refuse_metered_event() RETURNS trigger LANGUAGE plpgsql AS $$
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
                     AND closed.ends_at >= period.ends_at)
            -- But for what brings the meter back to what was compared, while the invoice that lacks it is a draft and
            -- nobody has decided what becomes of it.
            AND NOT (EXISTS (
                SELECT FROM billing_meteredshortfall lacking
                  JOIN billing_meteredevent event ON event.id = lacking.event_id
                  JOIN billing_invoiceclose held ON held.id = lacking.close_id
                  JOIN billing_invoice invoice ON invoice.id = held.invoice_id
                 WHERE event.period_id = NEW.period_id AND event.price_id = NEW.price_id AND invoice.status = 'draft')
              AND NOT EXISTS (
                SELECT FROM billing_meteredshortfalldecision decided
                  JOIN billing_meteredshortfall lacking ON lacking.id = decided.shortfall_id
                  JOIN billing_meteredevent event ON event.id = lacking.event_id
                 WHERE event.period_id = NEW.period_id AND event.price_id = NEW.price_id
                   AND decided.way <> 'sent_again')
              AND NEW.total_units * (SELECT unit_minor FROM billing_meteredprice WHERE id = NEW.price_id) = (
                SELECT coalesce(sum(line.amount_minor), 0)
                  FROM billing_invoiceline line JOIN billing_invoice invoice ON invoice.id = line.invoice_id
                 WHERE line.period_id = NEW.period_id AND line.metered_price_id = NEW.price_id
                   AND invoice.status <> 'void')) THEN
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

-- For words of refusals: minor units that count by our events, and Stripe's summary as it was read last.
CREATE FUNCTION billing_sent_to_meter(of_period bigint, of_price bigint) RETURNS bigint LANGUAGE sql STABLE
    SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT coalesce(sum(event.units * price.unit_minor), 0)::bigint
      FROM billing_meteredevent event JOIN billing_meteredprice price ON price.id = event.price_id
     WHERE event.period_id = of_period AND event.price_id = of_price AND event.state <> 'not_counted'
$$;
CREATE FUNCTION billing_meter_said(of_period bigint, of_price bigint) RETURNS text LANGUAGE sql STABLE
    SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM billing_meteredevent event WHERE event.period_id = of_period
                                AND event.price_id = of_price AND event.state = 'intended')
                THEN '; an event of them has no answer yet' ELSE '' END || coalesce((
        SELECT format('; Stripe''s summary said %s at %s', summary.stripe_units * price.unit_minor,
                      to_char(summary.read_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'))
          FROM billing_meteredsummary summary JOIN billing_meteredprice price ON price.id = summary.price_id
         WHERE summary.period_id = of_period AND summary.price_id = of_price ORDER BY summary.id DESC LIMIT 1),
        '; Stripe''s summary was not read')
$$;

CREATE OR REPLACE FUNCTION billing_refuse_close_beside_meters() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ended billing_billingperiod;
    words text;
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
    SELECT format('invoice %s charges %s minor units of usage on line %s (%s), and %s that were sent to Stripe''s meter %s'
                  ' count', invoice.stripe_invoice_id, line.amount_minor, line.id, line.description,
                  billing_sent_to_meter(line.period_id, price.id), price.event_name)
           || billing_meter_said(line.period_id, price.id)
      INTO words
      FROM billing_invoiceclose done
      JOIN billing_invoice invoice ON invoice.id = done.invoice_id
      JOIN billing_invoiceline line ON line.invoice_id = done.invoice_id
      JOIN billing_meteredprice price ON price.id = line.metered_price_id
     WHERE done.id = NEW.close_id
           -- With what Stripe billed of the period before, on an invoice of its own; nothing is under way.
           AND (EXISTS (
               SELECT FROM billing_meteredevent event
                WHERE event.period_id = line.period_id AND event.price_id = price.id AND event.state = 'intended')
             OR (SELECT sum(billed.amount_minor) FROM billing_invoiceline billed
                  JOIN billing_invoice other ON other.id = billed.invoice_id
                 WHERE billed.period_id = line.period_id AND billed.metered_price_id = price.id
                   AND other.status <> 'void') <> price.unit_minor * (
               SELECT coalesce(sum(event.units), 0) FROM billing_meteredevent event
                WHERE event.period_id = line.period_id AND event.price_id = price.id AND event.state <> 'not_counted'))
     LIMIT 1;
    IF words IS NULL THEN
        SELECT format('period %s (%s to %s) is on no line of invoice %s that Stripe''s meters bring, and %s minor units'
                      ' that were sent to Stripe''s meter %s count', event.period_id, min(period.starts_at)::date,
                      min(period.ends_at)::date, (SELECT stripe_invoice_id FROM billing_invoice invoice
                       JOIN billing_invoiceclose done ON done.invoice_id = invoice.id WHERE done.id = NEW.close_id),
                      billing_sent_to_meter(event.period_id, event.price_id),
                      (SELECT event_name FROM billing_meteredprice WHERE id = event.price_id))
               || billing_meter_said(event.period_id, event.price_id)
          INTO words
          FROM billing_meteredevent event
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
         LIMIT 1;
    END IF;
    IF words IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'integrity_constraint_violation',
            MESSAGE = words,
            HINT = 'Look at the meter events of the period: have sent again what does not count, then let the close go on.',
            CONSTRAINT = 'billing_invoiceclose_metered',
            TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$;

-- What Stripe left off, and a person decided about, is on no line: the line is what Stripe charges, before it is entered.
DROP TRIGGER billing_invoiceline_written ON billing_invoiceline;
CREATE TRIGGER billing_invoiceline_written BEFORE UPDATE ON billing_invoiceline FOR EACH ROW
    WHEN (OLD.metered_price_id IS NULL OR OLD.amount_minor = NEW.amount_minor)
    EXECUTE FUNCTION billing_refuse_other_columns('billing_invoiceline_written', 'stripe_line_id', 'discount_minor',
        'exclusive_tax_minor', 'inclusive_tax_minor');
CREATE TRIGGER billing_invoiceline_written_metered BEFORE UPDATE ON billing_invoiceline FOR EACH ROW
    WHEN (OLD.metered_price_id IS NOT NULL AND OLD.amount_minor <> NEW.amount_minor)
    EXECUTE FUNCTION billing_refuse_other_columns('billing_invoiceline_written', 'amount_minor', 'exact_amount',
        'rounding');

CREATE FUNCTION billing_refuse_line_left_off() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    -- With what Stripe billed of the period on invoices of its own; and never of an invoice that is in the ledger.
    IF NEW.rounding <> 0
        OR EXISTS (SELECT FROM billing_invoice invoice
                     JOIN ledger_journalentry entry
                       ON entry.idempotency_key = 'invoice_finalized:' || invoice.stripe_invoice_id
                    WHERE invoice.id = NEW.invoice_id)
        OR NEW.amount_minor + (
            SELECT coalesce(sum(other.amount_minor), 0)
              FROM billing_invoiceline other JOIN billing_invoice invoice ON invoice.id = other.invoice_id
             WHERE other.period_id = NEW.period_id AND other.metered_price_id = NEW.metered_price_id
               AND other.invoice_id <> NEW.invoice_id AND invoice.status <> 'void')
            <> billing_sent_to_meter(NEW.period_id, NEW.metered_price_id)
        OR OLD.amount_minor - NEW.amount_minor <> coalesce((
            SELECT sum(lacking.amount_minor)
              FROM billing_meteredshortfall lacking
              JOIN billing_meteredshortfalldecision decided ON decided.shortfall_id = lacking.id
              JOIN billing_meteredevent event ON event.id = lacking.event_id
              JOIN billing_invoiceclose done ON done.id = lacking.close_id
             WHERE done.invoice_id = NEW.invoice_id AND event.period_id = NEW.period_id
               AND event.price_id = NEW.metered_price_id
               AND decided.way IN ('next_invoice', 'document', 'absorb')), 0) THEN
        RAISE EXCEPTION 'Line % cannot charge % instead of %', NEW.id, NEW.amount_minor, OLD.amount_minor
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'billing_invoiceline_left_off',
                  TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_invoiceline_left_off BEFORE UPDATE ON billing_invoiceline FOR EACH ROW
    WHEN (OLD.metered_price_id IS NOT NULL AND OLD.amount_minor <> NEW.amount_minor)
    EXECUTE FUNCTION billing_refuse_line_left_off();
