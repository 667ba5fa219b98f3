-- A trigger here refuses, under the name of the rule it keeps; it never computes.

-- What was asked for stays as it was asked for; an end, of either kind, is for good.
CREATE TRIGGER billing_backtest_terms BEFORE UPDATE ON billing_backtest FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_backtest_terms', 'state', 'started_at', 'ended_at',
        'stopped_because', 'report');
CREATE TRIGGER billing_backtest_ended BEFORE UPDATE ON billing_backtest FOR EACH ROW
    WHEN (OLD.state IN ('done', 'stopped'))
    EXECUTE FUNCTION billing_refuse('billing_backtest_ended');
CREATE TRIGGER billing_backtest_state BEFORE UPDATE ON billing_backtest FOR EACH ROW
    WHEN (NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
        ('waiting', 'running'), ('waiting', 'stopped'), ('running', 'done'), ('running', 'stopped')))
    EXECUTE FUNCTION billing_refuse('billing_backtest_state');

-- A report is of the whole cohort: a backtest is done when all of its parts are.
CREATE FUNCTION billing_refuse_unfinished_backtest() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM billing_backtestpart WHERE backtest_id = NEW.id AND done_at IS NULL) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'integrity_constraint_violation',
            MESSAGE = format('backtest %s has parts that are not done', NEW.id),
            CONSTRAINT = 'billing_backtest_whole',
            TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_backtest_whole BEFORE UPDATE ON billing_backtest FOR EACH ROW
    WHEN (NEW.state = 'done' AND OLD.state <> 'done')
    EXECUTE FUNCTION billing_refuse_unfinished_backtest();

-- A part says whose usage it is of once and for all, and is done once. It belongs to a backtest that has not ended.
CREATE TRIGGER billing_backtestpart_terms BEFORE UPDATE ON billing_backtestpart FOR EACH ROW
    EXECUTE FUNCTION billing_refuse_other_columns('billing_backtestpart_terms', 'claimed_until', 'done_at');
CREATE TRIGGER billing_backtestpart_done BEFORE UPDATE ON billing_backtestpart FOR EACH ROW
    WHEN (OLD.done_at IS NOT NULL)
    EXECUTE FUNCTION billing_refuse('billing_backtestpart_done');
CREATE TRIGGER billing_backtestline_append_only BEFORE UPDATE ON billing_backtestline FOR EACH ROW
    EXECUTE FUNCTION billing_refuse('billing_backtestline_append_only');

-- Lines and parts are added while the backtest is at that, never to one that has begun or ended.
-- Arguments: the rule, the state in which they may be. One look per statement, not per row: lines come by the thousand.
CREATE FUNCTION billing_refuse_rows_of_other_backtests() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM billing_backtest
                WHERE id IN (SELECT DISTINCT backtest_id FROM added) AND state <> TG_ARGV[1] FOR SHARE) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'integrity_constraint_violation',
            MESSAGE = format('INSERT of %s is refused by rule %s', TG_TABLE_NAME, TG_ARGV[0]),
            CONSTRAINT = TG_ARGV[0],
            TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER billing_backtestline_while_running AFTER INSERT ON billing_backtestline
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT
    EXECUTE FUNCTION billing_refuse_rows_of_other_backtests('billing_backtestline_while_running', 'running');
CREATE TRIGGER billing_backtestpart_before_it_begins AFTER INSERT ON billing_backtestpart
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT
    EXECUTE FUNCTION billing_refuse_rows_of_other_backtests('billing_backtestpart_before_it_begins', 'waiting');

-- History: no row of these ever goes.
DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY['billing_backtest', 'billing_backtestpart', 'billing_backtestline']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE DELETE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_delete', kept, kept || '_kept');
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_truncate', kept, kept || '_kept');
    END LOOP;
END $$;
