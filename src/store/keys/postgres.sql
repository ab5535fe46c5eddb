CREATE TABLE pannier_key (
    id         TEXT   NOT NULL PRIMARY KEY,
    name       TEXT   NOT NULL UNIQUE,
    team       TEXT   NOT NULL,
    start      TEXT   NOT NULL,
    admin      BIGINT NOT NULL,
    digest     BYTEA  NOT NULL UNIQUE,
    old_digest BYTEA  NOT NULL,
    old_until  BIGINT NOT NULL,
    expires    BIGINT NOT NULL,
    disabled   BIGINT NOT NULL,
    created    BIGINT NOT NULL,
    rotated    BIGINT NOT NULL,
    used       BIGINT NOT NULL
);

CREATE TABLE pannier_key_book (
    one     BIGINT NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    mark    BYTEA  NOT NULL
);
INSERT INTO pannier_key_book (one, version, mark) VALUES (1, 1, ''::bytea);
