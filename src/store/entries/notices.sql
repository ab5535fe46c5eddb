-- What was removed: whoever shares the server has things in memory that it does not know of.
CREATE TABLE "{table}_notice" (
    id BIGINT PRIMARY KEY,
    notice TEXT NOT NULL
);
