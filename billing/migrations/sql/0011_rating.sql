-- What an accrual says of who paid. A trigger here refuses, under the name of the rule it keeps; it never computes.

-- Of every rate, what allowances and grants paid is what the line says they did; and an accrual is the sum of its lines.
-- Asked when the transaction ends, as the parts are written one after the other.
CREATE FUNCTION billing_refuse_unfunded_line() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT coalesce(sum(included), 0) FROM billing_usageaccrualline
         WHERE accrual_id = NEW.accrual_id AND rate_id = NEW.rate_id)
       <> (SELECT coalesce(sum(amount), 0) FROM billing_allowancedrawdown
            WHERE accrual_id = NEW.accrual_id AND rate_id = NEW.rate_id) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'integrity_constraint_violation',
            MESSAGE = format('what is included in accrual %s for rate %s is not what allowances gave',
                             NEW.accrual_id, NEW.rate_id),
            CONSTRAINT = 'billing_accrual_included_is_drawn',
            TABLE = TG_TABLE_NAME;
    END IF;
    IF (SELECT coalesce(sum(credited), 0) FROM billing_usageaccrualline
         WHERE accrual_id = NEW.accrual_id AND rate_id = NEW.rate_id)
       <> (SELECT coalesce(sum(amount), 0) FROM billing_grantdrawdown
            WHERE accrual_id = NEW.accrual_id AND rate_id = NEW.rate_id) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'integrity_constraint_violation',
            MESSAGE = format('what is credited in accrual %s for rate %s is not what grants gave',
                             NEW.accrual_id, NEW.rate_id),
            CONSTRAINT = 'billing_accrual_credited_is_drawn',
            TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER billing_usageaccrualline_is_drawn AFTER INSERT ON billing_usageaccrualline
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing_refuse_unfunded_line();
CREATE CONSTRAINT TRIGGER billing_allowancedrawdown_is_drawn AFTER INSERT ON billing_allowancedrawdown
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing_refuse_unfunded_line();
CREATE CONSTRAINT TRIGGER billing_grantdrawdown_is_drawn AFTER INSERT ON billing_grantdrawdown
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing_refuse_unfunded_line();

-- Asked once an accrual, and again when a line is added to one.
CREATE FUNCTION billing_refuse_other_sum() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    of_accrual bigint := to_jsonb(NEW)->>TG_ARGV[0];
BEGIN
    IF EXISTS (
        SELECT FROM billing_usageaccrual a
          LEFT JOIN LATERAL (
                SELECT sum(rated) AS rated, sum(included) AS included, sum(credited) AS credited,
                       sum(unbilled) AS unbilled
                  FROM billing_usageaccrualline WHERE accrual_id = a.id) l ON true
         WHERE a.id = of_accrual
           AND (a.rated, a.included, a.credited, a.unbilled)
               <> (coalesce(l.rated, 0), coalesce(l.included, 0), coalesce(l.credited, 0), coalesce(l.unbilled, 0)))
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'integrity_constraint_violation',
            MESSAGE = format('accrual %s is not the sum of its lines', of_accrual),
            CONSTRAINT = 'billing_accrual_is_its_lines',
            TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER billing_usageaccrual_is_its_lines AFTER INSERT ON billing_usageaccrual
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing_refuse_other_sum('id');
CREATE CONSTRAINT TRIGGER billing_usageaccrualline_is_its_lines AFTER INSERT ON billing_usageaccrualline
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing_refuse_other_sum('accrual_id');

-- An allowance pays for its own period only, gives back no more than it gave, and gives no more than it holds. A pool for
-- each value of a dimension holds its amount for every one, and a cap has no end: of these only the first two are asked.
-- Once a statement, as one accrual draws for many rates.
CREATE FUNCTION billing_refuse_allowance_overdrawn() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    broken text;
BEGIN
    SELECT CASE WHEN EXISTS (SELECT FROM drawn JOIN billing_usageaccrual a ON a.id = drawn.accrual_id
                              WHERE drawn.allowance_id = p.id AND a.period_id <> p.period_id)
                THEN 'billing_allowancedrawdown_period' ELSE 'billing_allowancedrawdown_within' END
      INTO broken
      FROM billing_periodallowance p
     WHERE p.id IN (SELECT allowance_id FROM drawn)
       AND (EXISTS (SELECT FROM drawn JOIN billing_usageaccrual a ON a.id = drawn.accrual_id
                     WHERE drawn.allowance_id = p.id AND a.period_id <> p.period_id)
            OR EXISTS (
                SELECT FROM billing_allowancedrawdown d WHERE d.allowance_id = p.id
                HAVING sum(d.amount) < 0 OR sum(d.quantity) < 0
                    OR (p.each_dimension = '' AND p.measure = 'money' AND sum(d.amount) > p.amount)
                    OR (p.each_dimension = '' AND p.measure = 'units' AND sum(d.quantity) > p.amount)))
     ORDER BY p.id LIMIT 1;
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'integrity_constraint_violation',
            MESSAGE = format('INSERT of %s is refused by rule %s', TG_TABLE_NAME, broken),
            CONSTRAINT = broken,
            TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER billing_allowancedrawdown_within AFTER INSERT ON billing_allowancedrawdown
    REFERENCING NEW TABLE AS drawn FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_allowance_overdrawn();
