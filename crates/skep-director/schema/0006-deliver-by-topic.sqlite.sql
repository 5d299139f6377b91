-- Where a report stands is kept by the topic `reports`; here is which message it is. A row without
-- a message and without a place is from before there were topics, and is still to be sent.
DROP INDEX delivery_open;
ALTER TABLE delivery DROP COLUMN state;
ALTER TABLE delivery ADD COLUMN message TEXT;
CREATE INDEX delivery_unsent ON delivery (job_id) WHERE message IS NULL AND place IS NULL;
