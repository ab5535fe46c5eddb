CREATE TABLE ledger_account (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name TEXT NOT NULL,
    team TEXT NOT NULL,
    UNIQUE (name, team)
);
CREATE TABLE ledger_subject (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model TEXT NOT NULL,
    digest TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    dialect TEXT NOT NULL,
    operation TEXT NOT NULL,
    mode TEXT NOT NULL,
    UNIQUE (model, digest, endpoint, dialect, operation, mode)
);
CREATE TABLE ledger_price (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version TEXT NOT NULL UNIQUE
);
CREATE TABLE ledger_failure (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code TEXT NOT NULL,
    message TEXT NOT NULL,
    UNIQUE (code, message)
);
-- How far each file of a spool has been taken over.
CREATE TABLE ledger_spool (name BYTEA PRIMARY KEY, place BIGINT NOT NULL);

-- An id begins with the moment of its request: rows are found by it in the order of time. What is wide stands
-- first: nothing is lost to alignment, and two numbers take less than the sixteen bytes of an id.
CREATE TABLE ledger_row (
    id_head BIGINT NOT NULL,
    id_tail BIGINT NOT NULL,
    total_us BIGINT,
    cost BIGINT,
    saved_cost BIGINT,
    account INTEGER NOT NULL,
    subject INTEGER NOT NULL,
    price INTEGER,
    error INTEGER,
    prompt INTEGER,
    cached_prompt INTEGER,
    completion INTEGER,
    reasoning INTEGER,
    first_token_us INTEGER,
    queue_us INTEGER,
    load_us INTEGER,
    prompt_us INTEGER,
    completion_us INTEGER,
    status SMALLINT,
    ending SMALLINT,
    cache SMALLINT,
    source SMALLINT,
    rating SMALLINT,
    PRIMARY KEY (id_head, id_tail)
);
