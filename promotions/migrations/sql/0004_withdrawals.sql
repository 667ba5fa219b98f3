-- What was given back of a grant stays on record.

CREATE TRIGGER promotions_withdrawal_append_only BEFORE UPDATE ON promotions_grantwithdrawal FOR EACH ROW
    EXECUTE FUNCTION promotions_refuse('promotions_grantwithdrawal_append_only');
CREATE TRIGGER promotions_withdrawal_no_delete BEFORE DELETE ON promotions_grantwithdrawal FOR EACH ROW
    EXECUTE FUNCTION promotions_refuse('promotions_grantwithdrawal_kept');
CREATE TRIGGER promotions_withdrawal_no_truncate BEFORE TRUNCATE ON promotions_grantwithdrawal FOR EACH STATEMENT
    EXECUTE FUNCTION promotions_refuse('promotions_grantwithdrawal_kept');
