-- What each run of a schedule does, in words of people; forgotten when the schedule is removed.
CREATE TABLE schedule_template (
    schedule_id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    request TEXT NOT NULL,
    precheck TEXT,
    precheck_nothing_to_do BIGINT,
    precheck_seconds_max BIGINT
);
