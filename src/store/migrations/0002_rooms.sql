-- Secret links into rooms. Those that are revoked or have run out stay, so that whoever uses one is told so.
CREATE TABLE links (
    id              TEXT PRIMARY KEY,
    -- None: the standing link of the connection test, which belongs to no event.
    event           TEXT REFERENCES events (id) ON DELETE CASCADE,
    role            TEXT NOT NULL CHECK (role IN ('interpreter', 'participant', 'transcriber', 'corrector', 'manager', 'test')),
    language        TEXT,
    second_language TEXT,
    video           INTEGER NOT NULL,
    -- Keyed hash, to find it by, and sealed, to show it again.
    hash            BLOB NOT NULL UNIQUE,
    sealed          BLOB NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER,
    revoked_at      INTEGER
) STRICT;
CREATE INDEX links_by_event ON links (event, created_at, id);

-- What managers set of a booth; one that nothing is set of has no row.
CREATE TABLE booths (
    event           TEXT NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    language        TEXT NOT NULL,
    second_language TEXT,
    muted           INTEGER NOT NULL,
    -- dB; none: the event's; negative infinity: no floor under a voice.
    floor_level_db  REAL,
    PRIMARY KEY (event, language)
) STRICT;

-- Results of connection tests: personal data with a retention of its own.
CREATE TABLE connection_tests (
    id           TEXT PRIMARY KEY,
    event        TEXT REFERENCES events (id) ON DELETE CASCADE,
    at           INTEGER NOT NULL,
    name         TEXT NOT NULL,
    email        TEXT NOT NULL,
    place        TEXT NOT NULL,
    ping_ms      REAL,
    jitter_ms    REAL,
    loss_up      REAL,
    loss_down    REAL,
    transport    TEXT,
    grade        TEXT CHECK (grade IN ('good', 'average', 'bad'))
) STRICT;
CREATE INDEX connection_tests_by_age ON connection_tests (at DESC, id DESC);
