-- Who is told of what happens. Address and signing secret are stored sealed: both let whoever has them in.
CREATE TABLE webhooks (
    id         TEXT PRIMARY KEY,
    -- None: of all events.
    event      TEXT REFERENCES events (id) ON DELETE CASCADE,
    -- JSON list of kinds; empty: all.
    types      TEXT NOT NULL,
    sealed     BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
