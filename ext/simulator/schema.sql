-- The database of a simulated archive (ARCHIVE/hpss.db).  Times are simulated seconds since the epoch.

PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;

BEGIN;

-- What can be changed while the archive is in use; each is described in ext/README.md.
CREATE TABLE setting (name TEXT PRIMARY KEY, value) WITHOUT ROWID;

---- Name space and attributes: namespace.c and its neighbours ----

CREATE TABLE object (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    type INTEGER NOT NULL,                  -- 0x81 file, 0x82 symbolic link, 0x84 directory
    mode INTEGER NOT NULL,
    uid INTEGER NOT NULL DEFAULT 0,
    gid INTEGER NOT NULL DEFAULT 0,
    nlink INTEGER NOT NULL DEFAULT 1,
    size INTEGER NOT NULL DEFAULT 0,
    cos INTEGER NOT NULL DEFAULT 0,
    family INTEGER NOT NULL DEFAULT 0,
    fileset INTEGER NOT NULL DEFAULT 1,
    target TEXT,                            -- of a symbolic link
    created INTEGER NOT NULL DEFAULT 0,
    accessed INTEGER NOT NULL DEFAULT 0,
    written INTEGER NOT NULL DEFAULT 0,
    changed INTEGER NOT NULL DEFAULT 0,
    purge_lock INTEGER NOT NULL DEFAULT 0,
    comment TEXT NOT NULL DEFAULT '',
    generation INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE name (
    parent INTEGER NOT NULL,
    name TEXT NOT NULL,
    object INTEGER NOT NULL,
    PRIMARY KEY (parent, name)
) WITHOUT ROWID;
CREATE INDEX name_object ON name (object);

CREATE TABLE attribute (
    object INTEGER NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (object, key)
) WITHOUT ROWID;

CREATE TABLE cos (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    min_size INTEGER NOT NULL DEFAULT 0,
    max_size INTEGER NOT NULL,
    enforce_max INTEGER NOT NULL DEFAULT 0,
    levels TEXT NOT NULL,                   -- media from the top: 'disk,tape'
    stage_code TEXT NOT NULL DEFAULT 'open' -- open, open_asynch, open_background, none
);

CREATE TABLE fault (
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used again: counters in the control page go by it
    function TEXT NOT NULL,                 -- hpss_Open, or '*'
    path TEXT NOT NULL DEFAULT '*',
    first INTEGER NOT NULL DEFAULT 1,
    count INTEGER NOT NULL DEFAULT 1,       -- 0: for ever
    action TEXT NOT NULL,                   -- error, delay, hang, short, disconnect
    value INTEGER NOT NULL DEFAULT 0        -- negative code, milliseconds or bytes
);

INSERT INTO object (id, type, mode, nlink) VALUES (1, 0x84, 0x41ED, 2);

INSERT INTO cos (id, name, min_size, max_size, levels) VALUES
    (1, 'small', 0, 1 << 30, 'disk,tape'),
    (2, 'large', (1 << 30) + 1, 1 << 44, 'disk,tape'),
    (3, 'dual', 0, 1 << 44, 'disk,tape,tape'),
    (4, 'tape only', 0, 1 << 44, 'tape');

---- The tape library and the disk level: tape*.c ----

-- Bytes of an object at a level; no row means no data there.  Never REPLACE a row: the triggers below would miss it.
CREATE TABLE level (
    object INTEGER NOT NULL,
    level INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (object, level)
) WITHOUT ROWID;

-- Where the bytes of a tape level are.  Files do not span cartridges.
CREATE TABLE segment (
    object INTEGER NOT NULL,
    level INTEGER NOT NULL,
    cartridge TEXT NOT NULL,
    position INTEGER NOT NULL,              -- count of files before it
    offset INTEGER NOT NULL,                -- bytes from the start of the tape
    bytes INTEGER NOT NULL,
    PRIMARY KEY (object, level)
) WITHOUT ROWID;
CREATE INDEX segment_place ON segment (cartridge, offset);

CREATE TABLE cartridge (
    name TEXT PRIMARY KEY,
    state TEXT NOT NULL DEFAULT 'ok',       -- ok, lost
    copy INTEGER NOT NULL,                  -- 1: first copies, 2: second copies
    family INTEGER NOT NULL DEFAULT 0,
    capacity INTEGER NOT NULL,
    used INTEGER NOT NULL DEFAULT 0,
    next_position INTEGER NOT NULL DEFAULT 0,
    mounts INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX cartridge_filling ON cartridge (copy, family, name);

CREATE TABLE drive (
    id INTEGER PRIMARY KEY,
    state TEXT NOT NULL DEFAULT 'ok',       -- ok, failed
    slowness REAL NOT NULL DEFAULT 1,       -- factor on what the drive itself does: winding and reading
    cartridge TEXT UNIQUE,                  -- mounted
    head INTEGER NOT NULL DEFAULT 0,        -- bytes from the start of the tape
    request INTEGER,                        -- being served, NULL when idle
    busy_until REAL NOT NULL DEFAULT 0,
    mounts INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE request (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    client_id TEXT,
    batch INTEGER NOT NULL DEFAULT 0,       -- 0: none
    object INTEGER NOT NULL,
    submitted REAL NOT NULL,
    ready REAL NOT NULL,                    -- when the core server hands it to the library
    turn INTEGER,                           -- its place in the queue: own id or the batch's first; NULL until ready
    cartridge TEXT,                         -- which copy is going to be read
    offset INTEGER,
    bytes INTEGER NOT NULL DEFAULT 0,
    started REAL,
    finished REAL,                          -- NULL as long as it is queued or active
    state TEXT NOT NULL,                    -- queued, active, done, failed, cancelled, lost
    code INTEGER NOT NULL DEFAULT 0,
    callback TEXT                           -- whom to tell; set to NULL by whoever told them
);
CREATE INDEX request_ready ON request (ready, id) WHERE state = 'queued' AND turn IS NULL;
CREATE INDEX request_queue ON request (cartridge, turn, offset, id) WHERE state = 'queued' AND turn IS NOT NULL;
CREATE INDEX request_open ON request (object) WHERE finished IS NULL;
CREATE INDEX request_client ON request (client_id, object) WHERE finished IS NULL;
CREATE INDEX request_batch ON request (batch, id) WHERE batch <> 0;
CREATE INDEX request_callback ON request (finished) WHERE callback IS NOT NULL AND finished IS NOT NULL;

-- The first turn of every cartridge that queued requests need: so that choosing the next one costs the same whatever
-- the length of the queue.
CREATE TABLE waiting (cartridge TEXT PRIMARY KEY, turn INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX waiting_turn ON waiting (turn, cartridge);

-- Files that the migration policy is going to copy to tape.
CREATE TABLE migration (object INTEGER PRIMARY KEY, due REAL NOT NULL);
CREATE INDEX migration_due ON migration (due, object);

-- What the operator does, or is going to do: played at its time, like everything else.
CREATE TABLE operation (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    due REAL NOT NULL,
    action TEXT NOT NULL,                   -- fail_drive, repair_drive, slow_drive, lose_cartridge,
                                            -- restore_cartridge, migrate, purge, stage, written, forget_requests
    target,                                 -- a drive, cartridge or object
    value,                                  -- slow_drive: the factor; stage: the batch
    played REAL,
    code INTEGER,
    bytes INTEGER
);
CREATE INDEX operation_due ON operation (due, id) WHERE played IS NULL;

-- One row: sums, and the moment up to which the library has been played.
CREATE TABLE library (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    played REAL NOT NULL DEFAULT 0,
    disk_used INTEGER NOT NULL DEFAULT 0,
    mounts INTEGER NOT NULL DEFAULT 0,
    unmounts INTEGER NOT NULL DEFAULT 0,
    locates INTEGER NOT NULL DEFAULT 0,
    submitted INTEGER NOT NULL DEFAULT 0,
    duplicates INTEGER NOT NULL DEFAULT 0,
    staged INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    lost INTEGER NOT NULL DEFAULT 0,
    losing INTEGER NOT NULL DEFAULT 0,      -- submissions since lose_requests was set
    bytes_staged INTEGER NOT NULL DEFAULT 0,
    bytes_migrated INTEGER NOT NULL DEFAULT 0
);
INSERT INTO library (one) VALUES (1);

-- A disk level is always level 0, of a class of service that has one.
CREATE TRIGGER level_inserted AFTER INSERT ON level WHEN NEW.level = 0 AND EXISTS (
    SELECT 1 FROM object o JOIN cos c ON c.id = o.cos WHERE o.id = NEW.object AND c.levels LIKE 'disk%')
BEGIN
    UPDATE library SET disk_used = disk_used + NEW.bytes;
END;
CREATE TRIGGER level_updated AFTER UPDATE OF bytes ON level WHEN NEW.level = 0 AND NEW.bytes <> OLD.bytes AND EXISTS (
    SELECT 1 FROM object o JOIN cos c ON c.id = o.cos WHERE o.id = NEW.object AND c.levels LIKE 'disk%')
BEGIN
    UPDATE library SET disk_used = disk_used + NEW.bytes - OLD.bytes;
END;
CREATE TRIGGER level_deleted AFTER DELETE ON level WHEN OLD.level = 0 AND EXISTS (
    SELECT 1 FROM object o JOIN cos c ON c.id = o.cos WHERE o.id = OLD.object AND c.levels LIKE 'disk%')
BEGIN
    UPDATE library SET disk_used = disk_used - OLD.bytes;
END;

INSERT INTO setting (name, value) VALUES
    ('schedule_seconds', 0.1),
    ('mount_seconds', 60),
    ('unmount_seconds', 30),
    ('seek_seconds_full', 90),
    ('position_seconds', 3),
    ('tape_rate', 300e6),
    ('cartridge_capacity', 12000000000000),
    ('disk_capacity', 100000000000000),
    ('migration_delay', 600),
    ('drive_failure', 'requeue'),
    ('lose_requests', 0),
    ('server_state', 'up'),
    ('errno_style', 'aix'),
    ('user_attributes', 'on'),
    ('credential_lifetime', 0),
    ('credential_calls', 0),
    ('ping_skew', 0),
    ('ping_delay_ms', 0),
    ('retry_delay_ms', 100),
    ('callback_timeout_ms', 200),
    ('max_open_files', 4096),
    ('principal_uid', 0),
    ('principal_gid', 0),
    ('default_cos', 1),
    ('site', 'simulated');

COMMIT;
