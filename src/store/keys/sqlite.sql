CREATE TABLE pannier_key (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    team       TEXT    NOT NULL,
    start      TEXT    NOT NULL,
    admin      INTEGER NOT NULL,
    digest     BLOB    NOT NULL UNIQUE,
    old_digest BLOB    NOT NULL,
    old_until  INTEGER NOT NULL,
    expires    INTEGER NOT NULL,
    disabled   INTEGER NOT NULL,
    created    INTEGER NOT NULL,
    rotated    INTEGER NOT NULL,
    used       INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE pannier_key_book (
    one     INTEGER NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    mark    BLOB    NOT NULL
);
INSERT INTO pannier_key_book (one, version, mark) VALUES (1, 1, x'');
