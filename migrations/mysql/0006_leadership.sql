-- Which of several gateways on one database is the active one.

-- One row, with the id 1, once a gateway has led. `epoch` grows with each lead and never falls: a write under an older
-- one is refused. `holder` is a word about who raised it last, for people. On SQLite the file's lock decides, and the
-- table stays empty.
CREATE TABLE IF NOT EXISTS leadership (
    id     BIGINT       NOT NULL PRIMARY KEY,
    epoch  BIGINT       NOT NULL,
    holder VARCHAR(255) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
