-- Processes keep keys in memory: whoever changes one tells all of them, in the transaction that changes it.
CREATE FUNCTION tell_of_keys() RETURNS trigger LANGUAGE plpgsql AS '
    BEGIN
        PERFORM pg_notify(''holdfast_changes'', TG_TABLE_NAME);
        RETURN NULL;
    END
';

CREATE OR REPLACE TRIGGER keys_changed AFTER INSERT OR UPDATE OR DELETE ON keys
    FOR EACH STATEMENT EXECUTE FUNCTION tell_of_keys();

-- When a text was last used is no news.
CREATE OR REPLACE TRIGGER key_texts_changed AFTER INSERT OR UPDATE OF until_ns OR DELETE ON key_texts
    FOR EACH STATEMENT EXECUTE FUNCTION tell_of_keys();

CREATE OR REPLACE TRIGGER provider_keys_changed AFTER INSERT OR UPDATE OR DELETE ON provider_keys
    FOR EACH STATEMENT EXECUTE FUNCTION tell_of_keys();
