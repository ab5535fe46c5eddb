CREATE TABLE "{table}_kind" (
    id INTEGER PRIMARY KEY,
    prefix TEXT NOT NULL,
    operation TEXT NOT NULL,
    model TEXT NOT NULL,
    digest TEXT NOT NULL,
    team TEXT NOT NULL,
    -- Kept right by the triggers below: nobody ever counts the entries.
    entries INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    UNIQUE (prefix, operation, model, digest, team)
);

-- What is large stands last: a row is read from its beginning, and no further than needed.
CREATE TABLE "{table}" (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    kind INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    hits INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    used INTEGER NOT NULL,
    sealed BLOB NOT NULL
);
CREATE INDEX "{table}_by_expiry" ON "{table}" (expires);
CREATE INDEX "{table}_by_use" ON "{table}" (used);
CREATE INDEX "{table}_by_hits" ON "{table}" (kind, hits);

CREATE TRIGGER "{table}_came" AFTER INSERT ON "{table}" BEGIN
    UPDATE "{table}_kind" SET entries = entries + 1, bytes = bytes + new.bytes WHERE id = new.kind;
END;
CREATE TRIGGER "{table}_went" AFTER DELETE ON "{table}" BEGIN
    UPDATE "{table}_kind" SET entries = entries - 1, bytes = bytes - old.bytes WHERE id = old.kind;
END;
CREATE TRIGGER "{table}_changed" AFTER UPDATE OF kind, bytes ON "{table}" BEGIN
    UPDATE "{table}_kind" SET entries = entries - 1, bytes = bytes - old.bytes WHERE id = old.kind;
    UPDATE "{table}_kind" SET entries = entries + 1, bytes = bytes + new.bytes WHERE id = new.kind;
END;

CREATE VIEW "{table}_tally" AS
    SELECT id, prefix, operation, model, digest, team, entries, bytes FROM "{table}_kind";
