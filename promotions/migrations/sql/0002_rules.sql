-- A grant's terms never change; it ends once, and no grant ever goes. Triggers refuse under the name of their rule.

CREATE FUNCTION promotions_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'integrity_constraint_violation',
        MESSAGE = format('%s of %s is refused by rule %s', TG_OP, TG_TABLE_NAME, TG_ARGV[0]),
        CONSTRAINT = TG_ARGV[0],
        TABLE = TG_TABLE_NAME;
END $$;

CREATE TRIGGER promotions_grant_terms BEFORE UPDATE ON promotions_creditgrant FOR EACH ROW
    WHEN (to_jsonb(OLD) - 'ended_at' IS DISTINCT FROM to_jsonb(NEW) - 'ended_at')
    EXECUTE FUNCTION promotions_refuse('promotions_grant_terms');
CREATE TRIGGER promotions_grant_ended_once BEFORE UPDATE ON promotions_creditgrant FOR EACH ROW
    WHEN (OLD.ended_at IS NOT NULL AND NEW.ended_at IS DISTINCT FROM OLD.ended_at)
    EXECUTE FUNCTION promotions_refuse('promotions_grant_ended_once');
CREATE TRIGGER promotions_grant_no_delete BEFORE DELETE ON promotions_creditgrant FOR EACH ROW
    EXECUTE FUNCTION promotions_refuse('promotions_grant_kept');
CREATE TRIGGER promotions_grant_no_truncate BEFORE TRUNCATE ON promotions_creditgrant FOR EACH STATEMENT
    EXECUTE FUNCTION promotions_refuse('promotions_grant_kept');
