CREATE TABLE ledger_account (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    team TEXT NOT NULL,
    UNIQUE (name, team)
);
CREATE TABLE ledger_subject (
    id INTEGER PRIMARY KEY,
    model TEXT NOT NULL,
    digest TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    dialect TEXT NOT NULL,
    operation TEXT NOT NULL,
    mode TEXT NOT NULL,
    UNIQUE (model, digest, endpoint, dialect, operation, mode)
);
CREATE TABLE ledger_price (id INTEGER PRIMARY KEY, version TEXT NOT NULL UNIQUE);
CREATE TABLE ledger_failure (
    id INTEGER PRIMARY KEY,
    code TEXT NOT NULL,
    message TEXT NOT NULL,
    UNIQUE (code, message)
);
-- How far each file of a spool has been taken over.
CREATE TABLE ledger_spool (name BLOB PRIMARY KEY, place INTEGER NOT NULL);

-- An id begins with the moment of its request: rows lie in the order of time, and are found by it.
CREATE TABLE ledger_row (
    id_head INTEGER NOT NULL,
    id_tail INTEGER NOT NULL,
    account INTEGER NOT NULL,
    subject INTEGER NOT NULL,
    price INTEGER,
    error INTEGER,
    status INTEGER,
    ending INTEGER,
    cache INTEGER,
    source INTEGER,
    rating INTEGER,
    prompt INTEGER,
    cached_prompt INTEGER,
    completion INTEGER,
    reasoning INTEGER,
    total_us INTEGER,
    first_token_us INTEGER,
    queue_us INTEGER,
    load_us INTEGER,
    prompt_us INTEGER,
    completion_us INTEGER,
    cost INTEGER,
    saved_cost INTEGER,
    PRIMARY KEY (id_head, id_tail)
) WITHOUT ROWID;
