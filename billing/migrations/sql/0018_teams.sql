-- A team over time. A trigger here refuses, under the name of the rule it keeps; it never computes.

-- Changes follow each other: what came later cannot be written as if it had been before.
CREATE FUNCTION billing_refuse_earlier_team_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM billing_customer WHERE id = NEW.customer_id FOR NO KEY UPDATE;
    IF EXISTS (SELECT FROM billing_teamchange
                WHERE customer_id = NEW.customer_id AND recorded_at > NEW.recorded_at) THEN
        PERFORM billing_refused('billing_teamchange_order', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_teamchange_order BEFORE INSERT ON billing_teamchange FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_earlier_team_change();
CREATE TRIGGER billing_teamchange_append_only BEFORE UPDATE ON billing_teamchange FOR EACH ROW
    EXECUTE FUNCTION billing_refuse('billing_teamchange_append_only');

-- From which instant on a change may touch spans: from when it was written down, or of a correction, from the end of
-- what is invoiced or about to be.
CREATE FUNCTION billing_team_reaches_back_to(change billing_teamchange) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN change.operation <> 'correct_group' THEN change.recorded_at ELSE
        coalesce((SELECT max(period.ends_at) FROM billing_billingperiod period
                    JOIN billing_subscription subscription ON subscription.id = period.subscription_id
                   WHERE subscription.customer_id = change.customer_id AND period.state <> 'open'),
                 '-infinity') END
$$;

-- What lies in the past is fixed, and all that a span names is the same customer's.
CREATE FUNCTION billing_refuse_past_span() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    change billing_teamchange;
    reaches timestamptz;
    customer bigint;
BEGIN
    SELECT customer_id INTO customer FROM billing_member WHERE id = NEW.member_id;
    IF TG_OP = 'INSERT' THEN
        SELECT * INTO change FROM billing_teamchange WHERE id = NEW.begun_by_id;
        IF change.customer_id IS DISTINCT FROM customer THEN
            PERFORM billing_refused(TG_TABLE_NAME || '_of_customer', TG_TABLE_NAME, TG_OP);
        END IF;
        reaches := billing_team_reaches_back_to(change);
        IF NEW.starts_at < reaches OR NEW.ended_by_id IS NOT NULL AND NEW.ended_by_id <> NEW.begun_by_id THEN
            PERFORM billing_refused(TG_TABLE_NAME || '_past', TG_TABLE_NAME, TG_OP);
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.ends_at IS NULL OR NEW.ended_by_id IS NOT DISTINCT FROM OLD.ended_by_id THEN
        PERFORM billing_refused(TG_TABLE_NAME || '_past', TG_TABLE_NAME, TG_OP);
    END IF;
    SELECT * INTO change FROM billing_teamchange WHERE id = NEW.ended_by_id;
    IF change.customer_id IS DISTINCT FROM customer THEN
        PERFORM billing_refused(TG_TABLE_NAME || '_of_customer', TG_TABLE_NAME, TG_OP);
    END IF;
    reaches := billing_team_reaches_back_to(change);
    IF NEW.ends_at < reaches OR OLD.ends_at < reaches OR OLD.ends_at < NEW.ends_at THEN
        PERFORM billing_refused(TG_TABLE_NAME || '_past', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_membership_past BEFORE INSERT OR UPDATE ON billing_membership FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_past_span();
CREATE TRIGGER billing_groupmembership_past BEFORE INSERT OR UPDATE ON billing_groupmembership FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_past_span();
CREATE TRIGGER billing_seatassignment_past BEFORE INSERT OR UPDATE ON billing_seatassignment FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_past_span();

CREATE TRIGGER billing_membership_terms BEFORE UPDATE ON billing_membership FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_membership_terms', 'ends_at', 'ended_by_id');
CREATE TRIGGER billing_groupmembership_terms BEFORE UPDATE ON billing_groupmembership FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_groupmembership_terms', 'ends_at', 'ended_by_id');
CREATE TRIGGER billing_seatassignment_terms BEFORE UPDATE ON billing_seatassignment FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_seatassignment_terms', 'ends_at', 'ended_by_id');

-- A member is in groups of their own customer, and in none after it is closed. The group's row is held, so that it is
-- not closed meanwhile.
CREATE FUNCTION billing_refuse_wrong_group() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    held billing_billinggroup;
BEGIN
    SELECT * INTO held FROM billing_billinggroup WHERE id = NEW.group_id FOR KEY SHARE;
    IF held.customer_id IS DISTINCT FROM (SELECT customer_id FROM billing_member WHERE id = NEW.member_id) THEN
        PERFORM billing_refused('billing_groupmembership_of_customer', TG_TABLE_NAME, TG_OP);
    END IF;
    IF coalesce(NEW.ends_at, 'infinity') > coalesce(held.closed_at, 'infinity') THEN
        PERFORM billing_refused('billing_groupmembership_open_group', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_groupmembership_group BEFORE INSERT ON billing_groupmembership FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_wrong_group();

CREATE TRIGGER billing_billinggroup_terms BEFORE UPDATE ON billing_billinggroup FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns(
        'billing_billinggroup_terms', 'name', 'budget_code', 'closed_at', 'closed_by_id');
CREATE TRIGGER billing_billinggroup_closed BEFORE UPDATE ON billing_billinggroup FOR EACH ROW
    WHEN (OLD.closed_at IS NOT NULL) EXECUTE FUNCTION billing_refuse('billing_billinggroup_closed');
CREATE FUNCTION billing_refuse_wrong_close() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.closed_at IS NOT NULL AND NOT EXISTS (
        SELECT FROM billing_teamchange WHERE id = NEW.closed_by_id AND customer_id = NEW.customer_id
           AND recorded_at <= NEW.closed_at) THEN
        PERFORM billing_refused('billing_billinggroup_past', TG_TABLE_NAME, TG_OP);
    END IF;
    IF NEW.closed_at IS NOT NULL AND EXISTS (
        SELECT FROM billing_groupmembership WHERE group_id = NEW.id AND coalesce(ends_at, 'infinity') > NEW.closed_at
           AND coalesce(ends_at, 'infinity') > starts_at) THEN
        PERFORM billing_refused('billing_billinggroup_empty', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_billinggroup_close BEFORE UPDATE OF closed_at ON billing_billinggroup FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_wrong_close();

-- Who usage names stays who they are.
CREATE TRIGGER billing_member_terms BEFORE UPDATE ON billing_member FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_member_terms', 'name', 'email');
CREATE FUNCTION billing_refuse_change_of_another() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM billing_teamchange WHERE customer_id = NEW.customer_id
                      AND id = (to_jsonb(NEW) ->> TG_ARGV[1])::bigint) THEN
        PERFORM billing_refused(TG_ARGV[0], TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_member_of_customer BEFORE INSERT ON billing_member FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_change_of_another('billing_member_of_customer', 'first_change_id');
CREATE TRIGGER billing_billinggroup_of_customer BEFORE INSERT ON billing_billinggroup FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_change_of_another('billing_billinggroup_of_customer', 'opened_by_id');
CREATE TRIGGER billing_seatorder_of_customer BEFORE INSERT ON billing_seatorder FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_change_of_another('billing_seatorder_of_customer', 'because_id');

-- Which dimension names the members: each from its own start on, none in the past, none before another.
CREATE TRIGGER billing_memberdimension_of_customer BEFORE INSERT ON billing_memberdimension FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_change_of_another('billing_memberdimension_of_customer', 'begun_by_id');
CREATE FUNCTION billing_refuse_past_dimension() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM billing_customer WHERE id = NEW.customer_id FOR NO KEY UPDATE;
    IF EXISTS (SELECT FROM billing_teamchange WHERE id = NEW.begun_by_id AND recorded_at > NEW.starts_at)
        OR EXISTS (SELECT FROM billing_memberdimension
                    WHERE customer_id = NEW.customer_id AND starts_at > NEW.starts_at) THEN
        PERFORM billing_refused('billing_memberdimension_past', TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_memberdimension_past BEFORE INSERT ON billing_memberdimension FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_past_dimension();
CREATE TRIGGER billing_memberdimension_append_only BEFORE UPDATE ON billing_memberdimension FOR EACH ROW
    EXECUTE FUNCTION billing_refuse('billing_memberdimension_append_only');
CREATE TRIGGER billing_teampolicy_terms BEFORE UPDATE ON billing_teampolicy FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_teampolicy_terms', 'seats_follow_members');

-- Seats held never pass the seats there are, or fewer where fewer were asked for. The subscription's row is held: two
-- who give the last seat take turns, and so does who lowers them.
CREATE FUNCTION billing_refuse_seats_beyond() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    item record;
    there_are bigint;
    held bigint;
BEGIN
    IF EXISTS (SELECT FROM added JOIN billing_member member ON member.id = added.member_id
                 JOIN billing_subscription subscription ON subscription.id = added.subscription_id
                WHERE subscription.customer_id <> member.customer_id) THEN
        PERFORM billing_refused('billing_seatassignment_of_customer', TG_TABLE_NAME, TG_OP);
    END IF;
    FOR item IN SELECT subscription_id, add_on_id, min(starts_at) AS begins FROM added
                 GROUP BY 1, 2 ORDER BY 1, 2 LOOP
        SELECT seats INTO there_are FROM billing_subscription WHERE id = item.subscription_id FOR NO KEY UPDATE;
        IF item.add_on_id IS NOT NULL THEN
            SELECT sum(own.seats) INTO there_are FROM billing_subscriptionaddon own
              JOIN billing_planversion version ON version.id = own.plan_version_id
             WHERE own.subscription_id = item.subscription_id AND version.plan_id = item.add_on_id
               AND own.removed_at IS NULL;
        ELSE
            SELECT least(there_are, min(seats)) INTO there_are FROM billing_seatorder
             WHERE subscription_id = item.subscription_id AND state = 'open' AND from_next_period;
        END IF;
        SELECT count(DISTINCT member_id) INTO held FROM billing_seatassignment
         WHERE subscription_id = item.subscription_id AND add_on_id IS NOT DISTINCT FROM item.add_on_id
           AND (ends_at IS NULL OR ends_at > item.begins AND ends_at > starts_at);
        IF held > coalesce(there_are, 0) THEN
            PERFORM billing_refused('billing_seatassignment_seats', TG_TABLE_NAME, TG_OP);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER billing_seatassignment_seats AFTER INSERT ON billing_seatassignment
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_seats_beyond();

CREATE TRIGGER billing_seatorder_terms BEFORE UPDATE ON billing_seatorder FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_seatorder_terms', 'state', 'detail', 'settled_at');
CREATE TRIGGER billing_seatorder_settled_once BEFORE UPDATE ON billing_seatorder FOR EACH ROW
    WHEN (OLD.state <> 'open') EXECUTE FUNCTION billing_refuse('billing_seatorder_settled_once');

-- History: no row of these ever goes.
DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY['billing_teamchange', 'billing_teampolicy', 'billing_member', 'billing_billinggroup',
        'billing_membership', 'billing_groupmembership', 'billing_seatassignment', 'billing_seatorder',
        'billing_memberdimension']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE DELETE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_delete', kept, kept || '_kept');
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_truncate', kept, kept || '_kept');
    END LOOP;
END $$;
