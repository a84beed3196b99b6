-- The console's file. Instants are milliseconds since 1970. Whatever is here can be read from Kafka again.

CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE positions (topic TEXT, partition INTEGER, next INTEGER NOT NULL, PRIMARY KEY (topic, partition)) WITHOUT ROWID;

-- `body` is the row as the changelog has it. `busy_until`: the robot may be at the batch of an ended job until then, and
-- a pause longer.
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    job_id TEXT NOT NULL,
    partition INTEGER NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    submitted_at INTEGER NOT NULL,
    deadline INTEGER,
    busy_until INTEGER,
    body BLOB NOT NULL
);
CREATE UNIQUE INDEX job_of ON jobs (job_id, workspace_id);
CREATE INDEX jobs_by_time ON jobs (submitted_at);
CREATE INDEX jobs_by_state ON jobs (status, reason, submitted_at);
CREATE INDEX jobs_by_status ON jobs (status, submitted_at);
CREATE INDEX jobs_by_workspace ON jobs (workspace_id, submitted_at);
CREATE INDEX jobs_by_workspace_and_status ON jobs (workspace_id, status, submitted_at);
CREATE INDEX jobs_by_workspace_and_state ON jobs (workspace_id, status, reason, submitted_at);
CREATE INDEX jobs_by_deadline ON jobs (deadline) WHERE busy_until IS NULL AND deadline IS NOT NULL;
CREATE INDEX jobs_by_end ON jobs (workspace_id, busy_until) WHERE busy_until IS NOT NULL;

-- Counting a million rows takes longer than a page may.
CREATE TABLE job_counts (status TEXT, reason TEXT, count INTEGER NOT NULL, PRIMARY KEY (status, reason)) WITHOUT ROWID;
CREATE TRIGGER job_came AFTER INSERT ON jobs BEGIN
    INSERT INTO job_counts VALUES (new.status, new.reason, 1) ON CONFLICT DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER job_went AFTER DELETE ON jobs BEGIN
    UPDATE job_counts SET count = count - 1 WHERE status = old.status AND reason = old.reason;
END;
CREATE TRIGGER job_changed AFTER UPDATE ON jobs WHEN (old.status, old.reason) <> (new.status, new.reason) BEGIN
    UPDATE job_counts SET count = count - 1 WHERE status = old.status AND reason = old.reason;
    INSERT INTO job_counts VALUES (new.status, new.reason, 1) ON CONFLICT DO UPDATE SET count = count + 1;
END;

-- Outcomes and amendments: where each lies.
CREATE TABLE outcomes (
    topic TEXT,
    partition INTEGER,
    place INTEGER,
    workspace_id TEXT NOT NULL,
    job_id TEXT NOT NULL,
    written_at INTEGER NOT NULL,
    PRIMARY KEY (topic, partition, place)
) WITHOUT ROWID;
CREATE INDEX outcomes_of ON outcomes (job_id, workspace_id, written_at);

-- Dead letters without their values, which may carry credentials.
CREATE TABLE letters (
    topic TEXT,
    partition INTEGER,
    place INTEGER,
    letter_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    redrives INTEGER NOT NULL,
    workspace_id TEXT,
    job_id TEXT,
    written_at INTEGER NOT NULL,
    PRIMARY KEY (topic, partition, place)
) WITHOUT ROWID;
CREATE INDEX letters_by_reason ON letters (topic, reason, written_at);
CREATE INDEX letters_of ON letters (job_id, workspace_id, written_at) WHERE job_id IS NOT NULL;
CREATE TABLE letter_counts (topic TEXT, reason TEXT, count INTEGER NOT NULL, PRIMARY KEY (topic, reason)) WITHOUT ROWID;
CREATE TRIGGER letter_came AFTER INSERT ON letters BEGIN
    INSERT INTO letter_counts VALUES (new.topic, new.reason, 1) ON CONFLICT DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER letter_went AFTER DELETE ON letters BEGIN
    UPDATE letter_counts SET count = count - 1 WHERE topic = old.topic AND reason = old.reason;
END;

-- What people did, and what came of it. A hold of everything has a row of each partition.
CREATE TABLE controls (
    control_id TEXT,
    partition INTEGER,
    action TEXT NOT NULL,
    workspace_id TEXT,
    job_id TEXT,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT,
    requested_at INTEGER NOT NULL,
    decided_at INTEGER,
    refused TEXT,
    in_force INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (control_id, partition)
) WITHOUT ROWID;
CREATE INDEX controls_by_time ON controls (requested_at, control_id, partition);
CREATE INDEX controls_of ON controls (job_id, workspace_id, requested_at) WHERE job_id IS NOT NULL;
CREATE INDEX redrives_of ON controls (detail) WHERE action = 'redrive';
CREATE INDEX holds_in_force ON controls (partition) WHERE in_force;

-- Who has opened each partition, and since when that worker misses the robot.
CREATE TABLE owners (
    partition INTEGER PRIMARY KEY,
    worker_id TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    robot_away_since INTEGER
);
