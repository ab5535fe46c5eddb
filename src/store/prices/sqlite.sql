CREATE TABLE pannier_price (
    model         TEXT    NOT NULL,
    since         INTEGER NOT NULL,
    currency      TEXT    NOT NULL,
    prompt        INTEGER NOT NULL,
    cached_prompt INTEGER NOT NULL,
    completion    INTEGER NOT NULL,
    embedding     INTEGER NOT NULL,
    image         INTEGER NOT NULL,
    audio_second  INTEGER NOT NULL,
    gpu_second    INTEGER NOT NULL,
    changed       INTEGER NOT NULL,
    PRIMARY KEY (model, since)
) WITHOUT ROWID;

CREATE TABLE pannier_price_book (
    one     INTEGER NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL
);
INSERT INTO pannier_price_book (one, version) VALUES (1, 1);
