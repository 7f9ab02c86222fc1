-- Times are Unix milliseconds. Lists and settings that are only read whole are JSON.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;

CREATE TABLE events (
    id                 TEXT PRIMARY KEY,
    -- Counts every change of the row, so that whoever applies changes can tell old from new.
    revision           INTEGER NOT NULL,
    name               TEXT NOT NULL,
    status             TEXT NOT NULL CHECK (status IN ('inactive', 'preview', 'started', 'paused', 'ended')),
    status_changed_at  INTEGER NOT NULL,
    -- When it was last started from a status other than paused, and last ended.
    started_at         INTEGER,
    ended_at           INTEGER,
    input_selection    TEXT NOT NULL CHECK (input_selection IN ('auto', 'main', 'backup')),
    -- Part of what the preview token is derived from; a new one ends the old token.
    preview_nonce      BLOB NOT NULL,
    settings           TEXT NOT NULL,
    created_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL
) STRICT;
CREATE INDEX events_by_age ON events (created_at DESC, id DESC);

CREATE TABLE inputs (
    event      TEXT NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    input      TEXT NOT NULL CHECK (input IN ('main', 'backup')),
    key_hash   BLOB NOT NULL UNIQUE,
    key_set_at INTEGER NOT NULL,
    takeover   INTEGER NOT NULL,
    PRIMARY KEY (event, input)
) STRICT;

CREATE TABLE tokens (
    id         TEXT PRIMARY KEY,
    hash       BLOB NOT NULL UNIQUE,
    role       TEXT NOT NULL CHECK (role IN ('admin', 'manager', 'operator', 'read-only')),
    origin     TEXT NOT NULL CHECK (origin IN ('first-start', 'environment', 'command')),
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;

-- What an event's output is modelled on: the source at first publish.
CREATE TABLE shapes (
    event       TEXT PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE,
    frame_rate  INTEGER NOT NULL,
    width       INTEGER NOT NULL,
    height      INTEGER NOT NULL,
    measured_at INTEGER NOT NULL
) STRICT;
