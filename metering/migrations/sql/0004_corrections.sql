-- Corrections of usage. The rules, by name:
--
--   metering_corrections_are_kept          nothing of a correction is changed or removed
--   metering_correction_step_order         which step may follow which; positions have no gaps
--   metering_correction_second_person      nobody approves, or rejects, what they drafted
--   metering_correction_needs_approval     what needs a second person is applied as that person approved it
--   metering_correction_own_preview        a step names a preview of its own correction
--   metering_correction_reverted_by        a correction is reverted by the correction that says so
--
-- The database does not know people: that "user:fiona" is Fiona, only the application says.

DO $$
DECLARE
    fact text;
BEGIN
    FOREACH fact IN ARRAY ARRAY['metering_correction', 'metering_correctionpreview', 'metering_correctionwindow',
        'metering_correctionstep', 'metering_correctionline', 'metering_correctionevent', 'metering_correctionreject'] LOOP
        EXECUTE format('CREATE TRIGGER metering_immutable_row BEFORE UPDATE OR DELETE ON %I FOR EACH ROW'
            ' EXECUTE FUNCTION metering_refuse_fact_change(''metering_corrections_are_kept'')', fact);
        EXECUTE format('CREATE TRIGGER metering_immutable_table BEFORE TRUNCATE ON %I FOR EACH STATEMENT'
            ' EXECUTE FUNCTION metering_refuse_fact_change(''metering_corrections_are_kept'')', fact);
    END LOOP;
END $$;


CREATE FUNCTION metering_refuse_wrong_step() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    asked metering_correction;
    before metering_correctionstep;
    seen metering_correctionpreview;
    broken text;
BEGIN
    SELECT * INTO asked FROM metering_correction WHERE id = NEW.correction_id;
    SELECT * INTO before FROM metering_correctionstep WHERE correction_id = NEW.correction_id ORDER BY position DESC LIMIT 1;
    SELECT * INTO seen FROM metering_correctionpreview WHERE id = NEW.preview_id;
    broken := CASE
        WHEN NEW.position <> coalesce(before.position, 0) + 1
             OR (coalesce(before.step, ''), NEW.step::text) NOT IN (
                ('', 'drafted'), ('drafted', 'approved'), ('approved', 'approved'), ('drafted', 'applying'),
                ('approved', 'applying'), ('drafted', 'rejected'), ('approved', 'rejected'), ('drafted', 'withdrawn'),
                ('approved', 'withdrawn'), ('applying', 'applied'), ('applied', 'reverting'), ('reverting', 'reverted'))
            THEN 'metering_correction_step_order'
        WHEN NEW.step IN ('approved', 'rejected') AND NEW.actor = asked.drafted_by
            THEN 'metering_correction_second_person'
        WHEN NEW.preview_id IS NOT NULL AND seen.correction_id <> NEW.correction_id
            THEN 'metering_correction_own_preview'
        WHEN NEW.step = 'applying' AND seen.needs_second_person AND NOT EXISTS (
                SELECT FROM metering_correctionpreview AS approved
                 WHERE approved.id = before.preview_id AND before.step = 'approved' AND approved.digest = seen.digest)
            THEN 'metering_correction_needs_approval'
        WHEN NEW.caused_by_id IS NOT NULL AND NOT EXISTS (
                SELECT FROM metering_correction AS cause
                 WHERE cause.id = NEW.caused_by_id AND cause.reverts_id = NEW.correction_id)
            THEN 'metering_correction_reverted_by'
        END;
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION '%: step % of correction % is refused after %', broken, NEW.step, NEW.correction_id,
            coalesce(before.step, 'nothing')
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = broken, TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER metering_correction_steps BEFORE INSERT ON metering_correctionstep
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_wrong_step();
