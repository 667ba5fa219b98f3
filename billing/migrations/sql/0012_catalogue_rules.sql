-- A trigger here refuses, under the name of the rule it keeps; it never computes.

CREATE FUNCTION billing_refused(rule text, relation text, operation text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'integrity_constraint_violation',
        MESSAGE = format('%s of %s is refused by rule %s', operation, relation, rule),
        CONSTRAINT = rule,
        TABLE = relation;
END $$;

-- The cards whose price lists hold this card's: the card itself and those that stand on it.
CREATE FUNCTION billing_cards_holding(card_id bigint) RETURNS SETOF bigint LANGUAGE sql AS $$
    WITH RECURSIVE holding(id) AS (
        SELECT card_id
         UNION
        SELECT card.id FROM billing_ratecard card JOIN holding ON card.base_id = holding.id
    )
    SELECT id FROM holding
$$;

-- Whether only drafts are priced by the card. Its rows are held until the end of the transaction, so that no version
-- comes to it or is approved meanwhile: whoever approves holds the version, whoever adds one needs the card.
CREATE FUNCTION billing_only_drafts_use(card_id bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM billing_ratecard WHERE id IN (SELECT billing_cards_holding(card_id)) ORDER BY id FOR UPDATE;
    PERFORM FROM billing_planversion WHERE rate_card_id IN (SELECT billing_cards_holding(card_id))
      ORDER BY id FOR SHARE;
    RETURN NOT EXISTS (SELECT FROM billing_planversion
                        WHERE rate_card_id IN (SELECT billing_cards_holding(card_id)) AND status <> 'draft');
END $$;

-- A rate that anybody may have been promised stays. While only drafts use its card it is replaced by taking it away and
-- adding another: a rate is never updated.
CREATE FUNCTION billing_refuse_promised_rate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT billing_only_drafts_use(OLD.rate_card_id) THEN
        PERFORM billing_refused('billing_rate_kept', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN OLD;
END $$;
DROP TRIGGER billing_rate_no_delete ON billing_rate;
CREATE TRIGGER billing_rate_no_delete BEFORE DELETE ON billing_rate FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_promised_rate();

-- The cards whose rates are in a card's price list: the card itself and what it stands on.
CREATE FUNCTION billing_cards_under(card_id bigint) RETURNS SETOF bigint LANGUAGE sql AS $$
    WITH RECURSIVE under(id) AS (
        SELECT card_id
         UNION
        SELECT card.base_id FROM billing_ratecard card JOIN under ON under.id = card.id WHERE card.base_id IS NOT NULL
    )
    SELECT id FROM under
$$;

-- Until when the card's prices are known to have been promised or paid. Nobody's clock is read: what has passed is
-- known by what was written of it. NULL if nothing was. Only accruals from after `since` are looked for.
CREATE FUNCTION billing_card_priced_until(card_id bigint, since timestamptz) RETURNS timestamptz LANGUAGE sql AS $$
    WITH promised AS (
        SELECT id, approved_at, published_at FROM billing_planversion
         WHERE rate_card_id IN (SELECT billing_cards_holding(card_id)) AND status <> 'draft'
    )
    SELECT greatest(
        (SELECT max(greatest(approved_at, published_at)) FROM promised),
        (SELECT max(accrual.aggregated_through)
           FROM billing_usageaccrual accrual JOIN billing_billingperiod period ON period.id = accrual.period_id
          WHERE accrual.aggregated_through > since
            AND (period.plan_version_id IN (SELECT id FROM promised)
                 OR EXISTS (SELECT FROM billing_periodaddon add_on
                             WHERE add_on.period_id = period.id
                               AND add_on.plan_version_id IN (SELECT id FROM promised)))))
$$;

-- A new rate of a promised card prices nothing anew. From before an instant until which the card's prices are known to
-- have been promised or paid, it comes only to a meter, or to values of dimensions, that no rate of the promised
-- versions' cards, nor of an add-on beside them, could have priced; a charge without a meter never does.
CREATE FUNCTION billing_refuse_repricing() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    card record;
    until timestamptz;
BEGIN
    FOR card IN SELECT rate_card_id AS id, min(effective_from) AS since FROM fresh GROUP BY 1 ORDER BY 1 LOOP
        CONTINUE WHEN billing_only_drafts_use(card.id);
        until := billing_card_priced_until(card.id, card.since);
        IF card.since < until AND EXISTS (
            WITH lists AS (
                SELECT DISTINCT billing_cards_under(version.rate_card_id) AS card_id
                  FROM billing_planversion version JOIN billing_plan plan ON plan.id = version.plan_id
                 WHERE version.status <> 'draft'
                   AND (version.rate_card_id IN (SELECT billing_cards_holding(card.id))
                        OR plan.is_add_on
                           AND version.currency = (SELECT currency FROM billing_ratecard WHERE id = card.id))
            )
            SELECT FROM fresh
             WHERE rate_card_id = card.id AND effective_from < until
               AND (meter_code = ''
                    OR EXISTS (SELECT FROM billing_rate known
                                WHERE known.rate_card_id IN (SELECT card_id FROM lists)
                                  AND known.meter_code = fresh.meter_code
                                  AND known.id NOT IN (SELECT id FROM fresh)
                                  AND NOT EXISTS (SELECT FROM jsonb_each(known.dimensions) has
                                                    JOIN jsonb_each(fresh.dimensions) wants USING (key)
                                                   WHERE has.value <> wants.value)))
        ) THEN
            PERFORM billing_refused('billing_rate_repriced', TG_TABLE_NAME, TG_OP);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER billing_rate_repriced AFTER INSERT ON billing_rate REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT
    EXECUTE FUNCTION billing_refuse_repricing();

-- A card is named by its code for good. What it is in, and what it stands on, are terms of whoever is priced by it.
CREATE TRIGGER billing_ratecard_identity BEFORE UPDATE ON billing_ratecard FOR EACH ROW
    WHEN (NEW.code <> OLD.code)
    EXECUTE FUNCTION billing_refuse('billing_ratecard_identity');
CREATE FUNCTION billing_refuse_promised_card() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT billing_only_drafts_use(OLD.id) THEN
        PERFORM billing_refused('billing_ratecard_terms', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_ratecard_terms BEFORE UPDATE ON billing_ratecard FOR EACH ROW
    WHEN (NEW.currency <> OLD.currency OR NEW.base_id IS DISTINCT FROM OLD.base_id)
    EXECUTE FUNCTION billing_refuse_promised_card();

-- A card and its base are in one currency, and no card comes to stand on itself. The base is held, so that two cards
-- are not put onto each other at the same time.
CREATE FUNCTION billing_refuse_base() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM billing_ratecard WHERE id = NEW.base_id FOR UPDATE;
    IF NEW.base_id IN (SELECT billing_cards_holding(NEW.id)) THEN
        PERFORM billing_refused('billing_ratecard_no_circle', TG_TABLE_NAME, TG_OP);
    END IF;
    IF NEW.currency <> (SELECT currency FROM billing_ratecard WHERE id = NEW.base_id)
       OR EXISTS (SELECT FROM billing_ratecard WHERE base_id = NEW.id AND currency <> NEW.currency) THEN
        PERFORM billing_refused('billing_ratecard_one_currency', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER billing_ratecard_base AFTER INSERT OR UPDATE OF base_id, currency ON billing_ratecard FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_base();

-- A version begins as a draft. One of a plan that was sold before is approved before it is published; only the same
-- version in another currency, which comes out at the same instant, was not sold before.
CREATE TRIGGER billing_planversion_begins BEFORE INSERT ON billing_planversion FOR EACH ROW
    WHEN (NEW.status <> 'draft')
    EXECUTE FUNCTION billing_refuse('billing_planversion_begins');
CREATE FUNCTION billing_refuse_unapproved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM billing_plan WHERE id = NEW.plan_id FOR NO KEY UPDATE;
    IF EXISTS (SELECT FROM billing_planversion
                WHERE plan_id = NEW.plan_id AND id <> NEW.id AND published_at IS NOT NULL
                  AND (version <> NEW.version OR published_at <> NEW.published_at)) THEN
        PERFORM billing_refused('billing_planversion_approved_first', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_planversion_approved_first BEFORE UPDATE ON billing_planversion FOR EACH ROW
    WHEN (OLD.status = 'draft' AND NEW.status = 'published')
    EXECUTE FUNCTION billing_refuse_unapproved();

-- An instant is learned once, with the state that it tells of: what has one was in that state.
DROP TRIGGER billing_planversion_times ON billing_planversion;
CREATE TRIGGER billing_planversion_times BEFORE UPDATE ON billing_planversion FOR EACH ROW
    WHEN (NEW.approved_at IS DISTINCT FROM OLD.approved_at
              AND (OLD.approved_at IS NOT NULL OR OLD.status = 'approved' OR NEW.status <> 'approved')
          OR NEW.published_at IS DISTINCT FROM OLD.published_at
              AND (OLD.published_at IS NOT NULL OR OLD.status = 'published' OR NEW.status <> 'published')
          OR NEW.retired_at IS DISTINCT FROM OLD.retired_at
              AND (OLD.retired_at IS NOT NULL OR OLD.status = 'retired' OR NEW.status <> 'retired'))
    EXECUTE FUNCTION billing_refuse('billing_planversion_times');

-- What is promised with a version is fixed with it: what it bundles is an add-on in its currency and no draft.
CREATE FUNCTION billing_refuse_open_bundle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM billing_planversion_bundled bundled
                 JOIN billing_planversion add_on ON add_on.id = bundled.to_planversion_id
                 JOIN billing_plan plan ON plan.id = add_on.plan_id
                WHERE bundled.from_planversion_id = NEW.id
                  AND (add_on.status = 'draft' OR add_on.currency <> NEW.currency OR NOT plan.is_add_on)) THEN
        PERFORM billing_refused('billing_planversion_bundles_add_ons', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_planversion_bundles_add_ons BEFORE UPDATE ON billing_planversion FOR EACH ROW
    WHEN (OLD.status = 'draft' AND NEW.status IN ('approved', 'published'))
    EXECUTE FUNCTION billing_refuse_open_bundle();

-- A version and the card that prices it are in one currency.
CREATE FUNCTION billing_refuse_other_currency() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.currency <> (SELECT currency FROM billing_ratecard WHERE id = NEW.rate_card_id) THEN
        PERFORM billing_refused('billing_planversion_one_currency', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_planversion_one_currency BEFORE INSERT OR UPDATE OF currency, rate_card_id
    ON billing_planversion FOR EACH ROW EXECUTE FUNCTION billing_refuse_other_currency();

-- A plan is known to Stripe and to contracts by its code; whether it is an add-on is a term of whoever has it.
CREATE TRIGGER billing_plan_identity BEFORE UPDATE ON billing_plan FOR EACH ROW
    WHEN (NEW.code <> OLD.code
          OR OLD.stripe_product_id IS NOT NULL AND NEW.stripe_product_id IS DISTINCT FROM OLD.stripe_product_id)
    EXECUTE FUNCTION billing_refuse('billing_plan_identity');
CREATE FUNCTION billing_refuse_promised_plan() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM billing_planversion WHERE plan_id = NEW.id AND status <> 'draft') THEN
        PERFORM billing_refused('billing_plan_terms', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_plan_terms BEFORE UPDATE ON billing_plan FOR EACH ROW
    WHEN (NEW.is_add_on <> OLD.is_add_on)
    EXECUTE FUNCTION billing_refuse_promised_plan();
CREATE TRIGGER billing_product_identity BEFORE UPDATE ON billing_product FOR EACH ROW
    WHEN (NEW.code <> OLD.code)
    EXECUTE FUNCTION billing_refuse('billing_product_identity');
