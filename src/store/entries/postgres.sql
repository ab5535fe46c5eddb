CREATE TABLE "{table}_kind" (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    prefix TEXT NOT NULL,
    operation TEXT NOT NULL,
    model TEXT NOT NULL,
    digest TEXT NOT NULL,
    team TEXT NOT NULL,
    UNIQUE (prefix, operation, model, digest, team)
);

CREATE TABLE "{table}" (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key BYTEA NOT NULL UNIQUE,
    kind BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    hits BIGINT NOT NULL,
    stored BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    used BIGINT NOT NULL,
    sealed BYTEA NOT NULL
);
-- It comes compressed where that pays, and encrypted: trying again only costs.
ALTER TABLE "{table}" ALTER COLUMN sealed SET STORAGE EXTERNAL;
CREATE INDEX "{table}_by_expiry" ON "{table}" (expires);
CREATE INDEX "{table}_by_use" ON "{table}" (used);
CREATE INDEX "{table}_by_hits" ON "{table}" (kind, hits, id);

-- How the number of entries and of bytes changed, one row a statement and kind; the sum is what there is.
-- A row that all writers add to would make them wait for each other, and deadlock.
CREATE TABLE "{table}_change" (
    kind BIGINT NOT NULL,
    entries BIGINT NOT NULL,
    bytes BIGINT NOT NULL
);

CREATE FUNCTION "{table}_note"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO "{table}_change" SELECT kind, count(*), sum(bytes) FROM came GROUP BY kind;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO "{table}_change" SELECT kind, -count(*), -sum(bytes) FROM went GROUP BY kind;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO "{table}_change" SELECT kind, sum(n), sum(b) FROM (
            SELECT kind, 1 AS n, bytes AS b FROM came UNION ALL SELECT kind, -1, -bytes FROM went
        ) AS both_sides GROUP BY kind HAVING sum(n) <> 0 OR sum(b) <> 0;
    ELSE
        DELETE FROM "{table}_change";
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER "{table}_came" AFTER INSERT ON "{table}" REFERENCING NEW TABLE AS came
    FOR EACH STATEMENT EXECUTE FUNCTION "{table}_note"();
CREATE TRIGGER "{table}_went" AFTER DELETE ON "{table}" REFERENCING OLD TABLE AS went
    FOR EACH STATEMENT EXECUTE FUNCTION "{table}_note"();
CREATE TRIGGER "{table}_changed" AFTER UPDATE ON "{table}" REFERENCING OLD TABLE AS went NEW TABLE AS came
    FOR EACH STATEMENT EXECUTE FUNCTION "{table}_note"();
CREATE TRIGGER "{table}_emptied" AFTER TRUNCATE ON "{table}"
    FOR EACH STATEMENT EXECUTE FUNCTION "{table}_note"();

CREATE VIEW "{table}_tally" AS
    SELECT k.id, k.prefix, k.operation, k.model, k.digest, k.team,
           CAST(sum(c.entries) AS BIGINT) AS entries, CAST(sum(c.bytes) AS BIGINT) AS bytes
    FROM "{table}_kind" AS k JOIN "{table}_change" AS c ON c.kind = k.id
    GROUP BY k.id;
