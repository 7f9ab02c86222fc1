-- What inputs are pulled from. An address may hold a password, so it is stored sealed.
CREATE TABLE pulls (
    event  TEXT NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    input  TEXT NOT NULL CHECK (input IN ('main', 'backup')),
    sealed BLOB NOT NULL,
    set_at INTEGER NOT NULL,
    PRIMARY KEY (event, input)
) STRICT;
