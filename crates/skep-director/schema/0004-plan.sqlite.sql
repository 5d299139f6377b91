-- A job that waits for others is dispatched without a base; it is pinned when they have ended.
ALTER TABLE dispatch ADD COLUMN base_from TEXT;
-- The artifacts that a job is to leave, as a list of names.
ALTER TABLE dispatch ADD COLUMN artifacts TEXT;
