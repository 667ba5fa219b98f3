-- A trigger here refuses, under the name of the rule it keeps; it never computes. The rules, by name:
--
--   billing_approvalrequest_tested        a request names a backtest of this version that is done, and its fingerprint
--   billing_approvaldecision_as_requested a decision repeats who asked as the request says; its CHECK then tells requester
--                                         from second person, and its unique key a second decision from the first
--   billing_planversion_approved_on_report a draft is approved only on such a decision
--   billing_rollout_versions              both versions are of the plan and in the currency; both periods are as long
--   billing_planversion_rolling_out       a version whose rollout goes on, or whose customers are moving, is not retired
--   billing_rollout_terms, _state         what was planned stays; a state follows only from some
--   billing_rollout_told                  no state or stage changes without an event that says who and why
--   billing_rollout_stage_checked         a stage begins on a check of this instant that broke no limit
--   billing_rolloutcheck_halts            a check that breaks a limit leaves no rollout running, in its own transaction
--   billing_rolloutmove_…                 only a running rollout moves customers on, none that are pinned; what ended stays

DO $$
DECLARE
    fact text;
BEGIN
    FOREACH fact IN ARRAY ARRAY[
        'billing_approvalrequest', 'billing_approvaldecision', 'billing_rolloutstage', 'billing_rolloutlimits',
        'billing_rolloutcheck', 'billing_rolloutevent']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            fact || '_append_only', fact, fact || '_append_only');
    END LOOP;
END $$;

DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY[
        'billing_approvalrequest', 'billing_approvaldecision', 'billing_rollout', 'billing_rolloutstage',
        'billing_rolloutlimits', 'billing_rolloutcheck', 'billing_rolloutevent', 'billing_rolloutmove']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE DELETE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_delete', kept, kept || '_kept');
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_truncate', kept, kept || '_kept');
    END LOOP;
END $$;

CREATE FUNCTION billing_refuse_for_rollout(rule text, says text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation', MESSAGE = says || ': rule ' || rule, CONSTRAINT = rule;
END $$;


-- --- approval -------------------------------------------------------------------------------------------------------

CREATE FUNCTION billing_require_tested() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM billing_backtest
                    WHERE id = NEW.backtest_id AND candidate_id = NEW.plan_version_id
                      AND fingerprint = NEW.fingerprint AND state = 'done') THEN
        PERFORM billing_refuse_for_rollout('billing_approvalrequest_tested',
            'a request names a finished backtest of the same version and terms');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_approvalrequest_tested BEFORE INSERT ON billing_approvalrequest FOR EACH ROW
    EXECUTE FUNCTION billing_require_tested();

ALTER TABLE billing_approvalrequest
    ADD CONSTRAINT billing_approvalrequest_requester UNIQUE (id, requested_by);
ALTER TABLE billing_approvaldecision
    ADD CONSTRAINT billing_approvaldecision_as_requested FOREIGN KEY (request_id, requested_by)
        REFERENCES billing_approvalrequest (id, requested_by);

-- Whoever sets a version to approved, by whatever way: a second person has approved it on a report before.
CREATE FUNCTION billing_require_approved_on_report() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM billing_approvaldecision decision
                     JOIN billing_approvalrequest request ON request.id = decision.request_id
                    WHERE request.plan_version_id = NEW.id AND decision.outcome = 'approved') THEN
        PERFORM billing_refuse_for_rollout('billing_planversion_approved_on_report',
            'a second person approves a version on the report of a backtest first');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_planversion_approved_on_report BEFORE UPDATE ON billing_planversion FOR EACH ROW
    WHEN (NEW.status = 'approved' AND OLD.status <> 'approved')
    EXECUTE FUNCTION billing_require_approved_on_report();


-- --- rollouts -------------------------------------------------------------------------------------------------------

-- With another length of period, or from nothing to a fee, Stripe would bill at once and move the day of billing.
CREATE FUNCTION billing_require_rollout_versions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM billing_planversion was JOIN billing_planversion will ON will.id = NEW.candidate_id
         WHERE was.id = NEW.baseline_id
           AND (was.plan_id, was.currency) = (NEW.plan_id, NEW.currency)
           AND (will.plan_id, will.currency) = (NEW.plan_id, NEW.currency)
           AND (was."interval", was.interval_count, was.alignment, was.time_zone)
             = (will."interval", will.interval_count, will.alignment, will.time_zone)
           AND (was.fee_minor = 0 AND was.fee_tiers = '[]') = (will.fee_minor = 0 AND will.fee_tiers = '[]')
           AND was.only_for_id IS NULL AND will.only_for_id IS NULL
           AND was.status = 'published' AND will.status IN ('approved', 'published')) THEN
        PERFORM billing_refuse_for_rollout('billing_rollout_versions',
            'a rollout goes from a version that is sold to an approved one with periods as long, in the same currency');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_rollout_versions BEFORE INSERT ON billing_rollout FOR EACH ROW
    EXECUTE FUNCTION billing_require_rollout_versions();

CREATE TRIGGER billing_rollout_begins BEFORE INSERT ON billing_rollout FOR EACH ROW
    WHEN (NEW.state <> 'planned' OR NEW.stage <> 0)
    EXECUTE FUNCTION billing_refuse('billing_rollout_begins');
CREATE TRIGGER billing_rollout_terms BEFORE UPDATE ON billing_rollout FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_rollout_terms', 'state', 'stage', 'stage_began_at', 'changed_at');
CREATE TRIGGER billing_rollout_state_follows BEFORE UPDATE ON billing_rollout FOR EACH ROW
    WHEN (NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
        ('planned', 'running'), ('planned', 'rolled_back'), ('running', 'halted'), ('running', 'completed'),
        ('running', 'rolled_back'), ('halted', 'running'), ('halted', 'rolled_back')))
    EXECUTE FUNCTION billing_refuse('billing_rollout_state_follows');
CREATE TRIGGER billing_rollout_one_stage_at_a_time BEFORE UPDATE ON billing_rollout FOR EACH ROW
    WHEN ((NEW.stage <> OLD.stage OR NEW.stage_began_at IS DISTINCT FROM OLD.stage_began_at)
          AND (NEW.stage <> OLD.stage + 1 OR NEW.state <> 'running' OR OLD.state <> 'running'))
    EXECUTE FUNCTION billing_refuse('billing_rollout_one_stage_at_a_time');

CREATE FUNCTION billing_require_stage_checked() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM billing_rolloutcheck
                    WHERE rollout_id = NEW.id AND stage = NEW.stage AND is_before_stage
                      AND checked_at = NEW.stage_began_at AND breaches = '[]') THEN
        PERFORM billing_refuse_for_rollout('billing_rollout_stage_checked', 'a stage begins on a check that broke no limit');
    END IF;
    IF NOT EXISTS (SELECT FROM billing_rolloutstage WHERE rollout_id = NEW.id AND position = NEW.stage) THEN
        PERFORM billing_refuse_for_rollout('billing_rollout_stage_planned', 'the stage was not planned');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_rollout_stage_checked BEFORE UPDATE ON billing_rollout FOR EACH ROW
    WHEN (NEW.stage > OLD.stage)
    EXECUTE FUNCTION billing_require_stage_checked();

-- At the end of the transaction: the event may be written before the row or after it.
CREATE FUNCTION billing_require_rollout_told() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM billing_rolloutevent
                    WHERE rollout_id = NEW.id AND at = NEW.changed_at AND state = NEW.state AND stage = NEW.stage) THEN
        PERFORM billing_refuse_for_rollout('billing_rollout_told', 'what happens to a rollout is told by an event');
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER billing_rollout_told AFTER INSERT OR UPDATE ON billing_rollout
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing_require_rollout_told();

CREATE FUNCTION billing_require_halted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM billing_rollout WHERE id = NEW.rollout_id AND state = 'running') THEN
        PERFORM billing_refuse_for_rollout('billing_rolloutcheck_halts', 'a rollout that breaks a limit does not go on');
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER billing_rolloutcheck_halts AFTER INSERT ON billing_rolloutcheck
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.breaches <> '[]')
    EXECUTE FUNCTION billing_require_halted();

-- What a check is measured against are limits of the same rollout; an event that names a check names one of its own.
ALTER TABLE billing_rolloutlimits ADD CONSTRAINT billing_rolloutlimits_of UNIQUE (id, rollout_id);
ALTER TABLE billing_rolloutcheck ADD CONSTRAINT billing_rolloutcheck_own_limits FOREIGN KEY (limits_id, rollout_id)
    REFERENCES billing_rolloutlimits (id, rollout_id);
ALTER TABLE billing_rolloutcheck ADD CONSTRAINT billing_rolloutcheck_of UNIQUE (id, rollout_id);
ALTER TABLE billing_rolloutevent ADD CONSTRAINT billing_rolloutevent_own_check FOREIGN KEY (check_seen_id, rollout_id)
    REFERENCES billing_rolloutcheck (id, rollout_id);

-- Stages are told when a rollout is planned, and none is added later.
CREATE FUNCTION billing_require_planned() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    rollout_state text;
BEGIN
    SELECT state INTO rollout_state FROM billing_rollout WHERE id = NEW.rollout_id FOR NO KEY UPDATE;
    IF rollout_state <> 'planned' THEN
        PERFORM billing_refuse_for_rollout('billing_rolloutstage_planned', 'stages are told before a rollout starts');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_rolloutstage_planned BEFORE INSERT ON billing_rolloutstage FOR EACH ROW
    EXECUTE FUNCTION billing_require_planned();


-- Whoever is moved, or moved back, is so to a version that is sold: Stripe takes no price of a retired one.
CREATE FUNCTION billing_require_not_rolling_out() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM billing_rollout
                WHERE NEW.id IN (baseline_id, candidate_id) AND state IN ('planned', 'running', 'halted'))
       OR EXISTS (SELECT FROM billing_rolloutmove
                   WHERE NEW.id IN (from_version_id, to_version_id) AND state IN ('intended', 'telling', 'told')) THEN
        PERFORM billing_refuse_for_rollout('billing_planversion_rolling_out',
            'a rollout of this version goes on, or a customer is on the way; retire it when that is over');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_planversion_rolling_out BEFORE UPDATE ON billing_planversion FOR EACH ROW
    WHEN (NEW.status = 'retired' AND OLD.status <> 'retired')
    EXECUTE FUNCTION billing_require_not_rolling_out();


-- --- moves ----------------------------------------------------------------------------------------------------------

CREATE FUNCTION billing_require_movable() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    its billing_rollout;
BEGIN
    -- Held against whoever halts it meanwhile.
    SELECT * INTO its FROM billing_rollout WHERE id = NEW.rollout_id FOR SHARE;
    IF NEW.direction = 'forward' THEN
        IF its.state <> 'running' OR its.stage < 1 THEN
            PERFORM billing_refuse_for_rollout('billing_rolloutmove_running', 'only a running rollout moves customers on');
        END IF;
        IF EXISTS (SELECT FROM billing_subscription WHERE id = NEW.subscription_id AND pinned_at IS NOT NULL) THEN
            PERFORM billing_refuse_for_rollout('billing_rolloutmove_pinned', 'a pinned subscription stays');
        END IF;
    -- Pinned when it had the new terms already; one that was pinned on its way there goes back.
    ELSIF EXISTS (
        SELECT FROM billing_rolloutmove gone JOIN billing_subscription held ON held.id = gone.subscription_id
         WHERE gone.rollout_id = NEW.rollout_id AND gone.subscription_id = NEW.subscription_id
           AND gone.direction = 'forward' AND gone.state = 'done' AND gone.effective_at <= held.pinned_at
           AND NOT EXISTS (SELECT FROM billing_rolloutmove back
                            WHERE back.rollout_id = NEW.rollout_id AND back.direction = 'back'
                              AND back.subscription_id = NEW.subscription_id AND back.id > gone.id)) THEN
        PERFORM billing_refuse_for_rollout('billing_rolloutmove_pinned', 'a pinned subscription stays');
    END IF;
    IF NOT (NEW.direction = 'forward' AND (NEW.from_version_id, NEW.to_version_id) = (its.baseline_id, its.candidate_id)
            OR NEW.direction = 'back' AND (NEW.from_version_id, NEW.to_version_id) = (its.candidate_id, its.baseline_id))
    THEN
        PERFORM billing_refuse_for_rollout('billing_rolloutmove_versions', 'a move is between the versions of its rollout');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_rolloutmove_movable BEFORE INSERT ON billing_rolloutmove FOR EACH ROW
    EXECUTE FUNCTION billing_require_movable();
CREATE TRIGGER billing_rolloutmove_begins BEFORE INSERT ON billing_rolloutmove FOR EACH ROW
    WHEN (NEW.state <> 'intended')
    EXECUTE FUNCTION billing_refuse('billing_rolloutmove_begins');
CREATE TRIGGER billing_rolloutmove_terms BEFORE UPDATE ON billing_rolloutmove FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_rolloutmove_terms', 'state', 'told_at', 'effective_at', 'detail');
CREATE TRIGGER billing_rolloutmove_state_follows BEFORE UPDATE ON billing_rolloutmove FOR EACH ROW
    WHEN (NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
        ('intended', 'telling'), ('intended', 'dropped'), ('telling', 'told'), ('telling', 'refused'),
        ('telling', 'done'), ('telling', 'undone'), ('told', 'done'), ('told', 'undone'), ('told', 'dropped'),
        ('telling', 'dropped')))
    EXECUTE FUNCTION billing_refuse('billing_rolloutmove_state_follows');
-- Told to Stripe while the rollout runs, or not at all: whoever halts it waits for those who are at it, and they for him.
CREATE FUNCTION billing_require_running() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    rollout_state text;
BEGIN
    SELECT state INTO rollout_state FROM billing_rollout WHERE id = NEW.rollout_id FOR SHARE;
    IF rollout_state <> 'running' THEN
        PERFORM billing_refuse_for_rollout('billing_rolloutmove_running', 'only a running rollout moves customers on');
    END IF;
    IF EXISTS (SELECT FROM billing_subscription WHERE id = NEW.subscription_id AND pinned_at IS NOT NULL) THEN
        PERFORM billing_refuse_for_rollout('billing_rolloutmove_pinned', 'a pinned subscription stays');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_rolloutmove_running BEFORE UPDATE ON billing_rolloutmove FOR EACH ROW
    WHEN (NEW.state = 'telling' AND OLD.state = 'intended' AND NEW.direction = 'forward')
    EXECUTE FUNCTION billing_require_running();
