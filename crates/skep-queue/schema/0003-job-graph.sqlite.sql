-- A job's place among others: in the tree of jobs that are parts of one another, and in the order
-- that edges make. Only jobs that are part of something or wait for something have one.
CREATE TABLE job_node (
    job TEXT NOT NULL PRIMARY KEY,
    root TEXT NOT NULL,
    name TEXT,
    depth INTEGER NOT NULL,
    level INTEGER NOT NULL,
    edges_open INTEGER NOT NULL,
    cause TEXT,
    CHECK (edges_open >= 0)
) STRICT, WITHOUT ROWID;

-- One row for each thing that a job waits for. The outcome is written once, by the transaction
-- that ends the parent; a retry takes it back while the child has not begun.
CREATE TABLE job_edge (
    parent TEXT NOT NULL,
    child TEXT NOT NULL,
    policy TEXT NOT NULL,
    artifact TEXT NOT NULL,
    outcome TEXT,
    PRIMARY KEY (parent, child, policy, artifact),
    CHECK (outcome IN ('met', 'unmet'))
) STRICT, WITHOUT ROWID;
CREATE INDEX job_edge_child ON job_edge (child);

-- How many parts a job has that have not ended, and how many jobs were ever asked for below it.
CREATE TABLE job_tree (
    job TEXT NOT NULL PRIMARY KEY,
    open INTEGER NOT NULL,
    jobs INTEGER NOT NULL,
    wake_to TEXT,
    ending INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX job_tree_ending ON job_tree (job) WHERE ending = 1;

-- What jobs left for others, by reference.
CREATE TABLE artifact (
    job TEXT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    place TEXT NOT NULL,
    tier TEXT NOT NULL,
    PRIMARY KEY (job, name)
) STRICT, WITHOUT ROWID;
