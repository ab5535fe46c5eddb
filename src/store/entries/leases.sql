-- Who is making an entry just now. What is lost with the server was over with it: nothing is logged.
CREATE UNLOGGED TABLE "{table}_lease" (
    key BYTEA PRIMARY KEY,
    owner TEXT NOT NULL,
    fence BIGINT NOT NULL,
    ends TIMESTAMPTZ NOT NULL
);
CREATE INDEX "{table}_lease_by_end" ON "{table}_lease" (ends);
