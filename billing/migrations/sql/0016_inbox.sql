-- What an event said stays as it came, until its payload is dropped as a whole; what became of it is only added.

-- Each column by its name: comparing whole rows would go through the payload at every change of state. A thin event
-- names an object of which only Stripe knows what it is a part of, so it may learn later behind what it queues up.
CREATE TRIGGER billing_inboxevent_as_received BEFORE UPDATE ON billing_inboxevent FOR EACH ROW
    WHEN ((OLD.event_id, OLD.type, OLD.api_version, OLD.livemode, OLD.stripe_created_at, OLD.received_at, OLD.source)
            IS DISTINCT FROM
          (NEW.event_id, NEW.type, NEW.api_version, NEW.livemode, NEW.stripe_created_at, NEW.received_at, NEW.source))
    EXECUTE FUNCTION billing_refuse('billing_inboxevent_as_received');
CREATE TRIGGER billing_inboxevent_object BEFORE UPDATE OF object_id ON billing_inboxevent FOR EACH ROW
    WHEN (NEW.object_id <> OLD.object_id AND OLD.payload ->> 'object' IS DISTINCT FROM 'v2.core.event')
    EXECUTE FUNCTION billing_refuse('billing_inboxevent_object');
CREATE TRIGGER billing_inboxevent_payload BEFORE UPDATE OF payload ON billing_inboxevent FOR EACH ROW
    WHEN (NEW.payload IS NOT NULL AND NEW.payload IS DISTINCT FROM OLD.payload)
    EXECUTE FUNCTION billing_refuse('billing_inboxevent_payload');
-- Deliveries and attempts are counted up.
CREATE TRIGGER billing_inboxevent_counts BEFORE UPDATE ON billing_inboxevent FOR EACH ROW
    WHEN (NEW.deliveries < OLD.deliveries OR NEW.attempts < OLD.attempts OR NEW.attempts_before > NEW.attempts)
    EXECUTE FUNCTION billing_refuse('billing_inboxevent_counts');

-- How far Stripe's lists were read only grows: a step back would hide what was lost meanwhile.
CREATE TRIGGER billing_pollposition_forward BEFORE UPDATE ON billing_pollposition FOR EACH ROW
    WHEN (NEW.name <> OLD.name OR NEW.read_until < OLD.read_until OR NEW.complete_at < OLD.complete_at)
    EXECUTE FUNCTION billing_refuse('billing_pollposition_forward');

CREATE TRIGGER billing_mirrorrebuild_finished BEFORE UPDATE ON billing_mirrorrebuild FOR EACH ROW
    WHEN (OLD.finished_at IS NOT NULL)
    EXECUTE FUNCTION billing_refuse('billing_mirrorrebuild_finished');

DO $$
DECLARE
    fact text;
    kept text;
BEGIN
    FOREACH fact IN ARRAY ARRAY['billing_inboxfailure', 'billing_inboxreplay', 'billing_inboxreplayedevent']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            fact || '_append_only', fact, fact || '_append_only');
    END LOOP;
    FOREACH kept IN ARRAY ARRAY['billing_inboxfailure', 'billing_inboxreplay', 'billing_inboxreplayedevent',
                                'billing_pollposition', 'billing_mirrorrebuild']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE DELETE ON %I FOR EACH ROW EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_delete', kept, kept || '_kept');
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse(%L)',
            kept || '_no_truncate', kept, kept || '_kept');
    END LOOP;
END $$;
