-- A trigger here refuses, under the name of the rule it keeps; it never computes.

-- Facts: rows are added and never changed.
DO $$
DECLARE
    fact text;
BEGIN
    FOREACH fact IN ARRAY ARRAY['billing_allowancedrawdown', 'billing_periodallowance', 'billing_periodaddon']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            fact || '_append_only', fact, fact || '_append_only');
    END LOOP;
END $$;

-- History: no row of these ever goes, whatever of it may change.
DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY[
        'billing_product', 'billing_allowancedrawdown', 'billing_periodallowance', 'billing_periodaddon',
        'billing_subscriptionaddon']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE DELETE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_delete', kept, kept || '_kept');
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_truncate', kept, kept || '_kept');
    END LOOP;
END $$;

-- Approved and published terms are promised. A version goes draft → approved → published → retired, and never back.
DROP TRIGGER billing_planversion_terms ON billing_planversion;
CREATE TRIGGER billing_planversion_terms BEFORE UPDATE ON billing_planversion FOR EACH ROW
    WHEN (OLD.status <> 'draft')
    EXECUTE FUNCTION billing_refuse_other_columns('billing_planversion_terms', 'status', 'stripe_price_id',
        'approved_at', 'published_at', 'retired_at');
DROP TRIGGER billing_planversion_status ON billing_planversion;
CREATE TRIGGER billing_planversion_status BEFORE UPDATE ON billing_planversion FOR EACH ROW
    WHEN (NEW.status <> OLD.status AND (OLD.status, NEW.status) NOT IN (
        ('draft', 'approved'), ('draft', 'published'), ('approved', 'published'), ('approved', 'retired'),
        ('draft', 'retired'), ('published', 'retired')))
    EXECUTE FUNCTION billing_refuse('billing_planversion_status');
CREATE TRIGGER billing_planversion_times BEFORE UPDATE ON billing_planversion FOR EACH ROW
    WHEN (OLD.approved_at IS DISTINCT FROM NEW.approved_at AND OLD.approved_at IS NOT NULL
          OR OLD.published_at IS DISTINCT FROM NEW.published_at AND OLD.published_at IS NOT NULL
          OR OLD.retired_at IS DISTINCT FROM NEW.retired_at AND OLD.retired_at IS NOT NULL)
    EXECUTE FUNCTION billing_refuse('billing_planversion_times');

-- What a version includes, and what it bundles, are its terms: they change with a draft only. The argument is the column
-- that names the version. Its row is held, so that nobody publishes it meanwhile.
CREATE FUNCTION billing_refuse_terms_of_no_draft() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    version_id bigint;
    version_status text;
BEGIN
    FOR version_id IN
        SELECT DISTINCT (side->>TG_ARGV[1])::bigint
          FROM unnest(ARRAY[CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END,
                            CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END]) AS side
         WHERE side IS NOT NULL
    LOOP
        SELECT status INTO version_status FROM billing_planversion WHERE id = version_id FOR SHARE;
        IF version_status <> 'draft' THEN
            RAISE EXCEPTION USING
                ERRCODE = 'integrity_constraint_violation',
                MESSAGE = format('%s of %s is refused by rule %s', TG_OP, TG_TABLE_NAME, TG_ARGV[0]),
                CONSTRAINT = TG_ARGV[0],
                TABLE = TG_TABLE_NAME;
        END IF;
    END LOOP;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_allowance_terms BEFORE INSERT OR UPDATE OR DELETE ON billing_allowance FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_terms_of_no_draft('billing_allowance_terms', 'plan_version_id');
CREATE TRIGGER billing_allowance_no_truncate BEFORE TRUNCATE ON billing_allowance FOR EACH STATEMENT
    EXECUTE FUNCTION billing_refuse('billing_allowance_kept');
CREATE TRIGGER billing_planversion_bundled_terms BEFORE INSERT OR UPDATE OR DELETE ON billing_planversion_bundled
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_terms_of_no_draft('billing_planversion_bundled_terms',
                                                                   'from_planversion_id');
CREATE TRIGGER billing_planversion_bundled_no_truncate BEFORE TRUNCATE ON billing_planversion_bundled
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse('billing_planversion_bundled_kept');

-- When an add-on comes and goes is settled by the periods that began since: what is still ahead may be asked for anew.
-- The arguments are the rule and the column.
CREATE FUNCTION billing_refuse_instant_behind() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM billing_billingperiod
      WHERE subscription_id = NEW.subscription_id
        AND starts_at >= least((to_jsonb(OLD)->>TG_ARGV[1])::timestamptz, (to_jsonb(NEW)->>TG_ARGV[1])::timestamptz);
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'integrity_constraint_violation',
            MESSAGE = format('%s of %s is refused by rule %s', TG_OP, TG_TABLE_NAME, TG_ARGV[0]),
            CONSTRAINT = TG_ARGV[0],
            TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_subscriptionaddon_terms BEFORE UPDATE ON billing_subscriptionaddon FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_subscriptionaddon_terms', 'added_at', 'removed_at');
CREATE TRIGGER billing_subscriptionaddon_added BEFORE UPDATE ON billing_subscriptionaddon FOR EACH ROW
    WHEN (NEW.added_at <> OLD.added_at)
    EXECUTE FUNCTION billing_refuse_instant_behind('billing_subscriptionaddon_added', 'added_at');
CREATE TRIGGER billing_subscriptionaddon_removed BEFORE UPDATE ON billing_subscriptionaddon FOR EACH ROW
    WHEN (OLD.removed_at IS NOT NULL AND NEW.removed_at IS DISTINCT FROM OLD.removed_at)
    EXECUTE FUNCTION billing_refuse_instant_behind('billing_subscriptionaddon_removed', 'removed_at');
