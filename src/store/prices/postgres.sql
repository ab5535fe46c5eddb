CREATE TABLE pannier_price (
    model         TEXT   NOT NULL,
    since         BIGINT NOT NULL,
    currency      TEXT   NOT NULL,
    prompt        BIGINT NOT NULL,
    cached_prompt BIGINT NOT NULL,
    completion    BIGINT NOT NULL,
    embedding     BIGINT NOT NULL,
    image         BIGINT NOT NULL,
    audio_second  BIGINT NOT NULL,
    gpu_second    BIGINT NOT NULL,
    changed       BIGINT NOT NULL,
    PRIMARY KEY (model, since)
);

CREATE TABLE pannier_price_book (
    one     BIGINT NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL
);
INSERT INTO pannier_price_book (one, version) VALUES (1, 1);
