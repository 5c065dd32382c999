package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"

	"modernc.org/sqlite" // also the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// version of the schema. An index of another one is made again.
const version = 1

const schema = `
CREATE TABLE runs (
	id TEXT PRIMARY KEY, project TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, path TEXT NOT NULL, file TEXT NOT NULL, ref TEXT NOT NULL,
	sha TEXT NOT NULL, actor TEXT NOT NULL, state INTEGER NOT NULL, created INTEGER NOT NULL, ended INTEGER NOT NULL,
	seq INTEGER NOT NULL, bundle TEXT NOT NULL, bytes INTEGER NOT NULL, summary BLOB NOT NULL
);
CREATE INDEX runs_project ON runs(project, seq);
CREATE INDEX runs_number ON runs(number);
CREATE INDEX runs_name ON runs(name, id);
CREATE INDEX runs_ref ON runs(ref, id);
CREATE INDEX runs_sha ON runs(sha);
CREATE INDEX runs_actor ON runs(actor, id);
CREATE INDEX runs_state ON runs(state, id);
CREATE TABLE refs (
	run TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (run, digest)
) WITHOUT ROWID;
CREATE INDEX refs_digest ON refs(digest);
CREATE TABLE chains (project TEXT PRIMARY KEY, seq INTEGER NOT NULL, link TEXT NOT NULL) WITHOUT ROWID;
`

// ErrDamaged: the index can't be used as it is, and can be made again from the bundles.
var ErrDamaged = errors.New("the index of finished runs is missing, damaged or of another version")

// openIndex opens an index, and makes it anew if there is none, or it is damaged or of another version. fresh: it is empty. An error of any other
// kind says nothing about the index, and leaves it alone.
func openIndex(ctx context.Context, path string) (db *sql.DB, fresh bool, err error) {
	_, err = os.Stat(path)
	switch {
	case err == nil:
		if db, err = connect(path); err != nil {
			return nil, false, err
		}
		err = sound(ctx, db)
		if err == nil {
			return db, false, nil
		}
		if closing := db.Close(); closing != nil || !errors.Is(err, ErrDamaged) {
			return nil, false, errors.Join(err, closing)
		}
	case !errors.Is(err, os.ErrNotExist):
		return nil, false, fmt.Errorf("opening the index of finished runs: %w", err)
	}
	if err := removeIndex(path); err != nil {
		return nil, false, fmt.Errorf("removing the damaged index of finished runs: %w", err)
	}
	if db, err = connect(path); err != nil {
		return nil, false, err
	}
	if _, err := db.ExecContext(ctx, schema+fmt.Sprintf("PRAGMA user_version = %d;", version)); err != nil {
		return nil, false, errors.Join(fmt.Errorf("making the index of finished runs: %w", err), db.Close())
	}
	return db, true, nil
}

// lookAt opens an index for reading, beside a process that writes it.
func lookAt(ctx context.Context, path string) (*sql.DB, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	} else if err != nil {
		return nil, fmt.Errorf("opening the index of finished runs: %w", err)
	}
	db, err := dial(path, url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(10000)", "cache_size(-8000)"}})
	if err != nil {
		return nil, err
	}
	if err := sound(ctx, db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// connect: what was committed may be lost when the host crashes, never the file's order: it is made again from the bundles then.
func connect(path string) (*sql.DB, error) {
	// What SQLite makes beside it has the same mode.
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the index of finished runs: %w", err)
	}
	if err := file.Close(); err != nil {
		return nil, fmt.Errorf("opening the index of finished runs: %w", err)
	}
	return dial(path, url.Values{"_pragma": {"journal_mode(WAL)", "synchronous(NORMAL)", "busy_timeout(10000)", "cache_size(-8000)"}, "_txlock": {"immediate"}})
}

func dial(path string, options url.Values) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+options.Encode())
	if err != nil {
		return nil, fmt.Errorf("opening the index of finished runs: %w", err)
	}
	db.SetMaxOpenConns(4)
	return db, nil
}

// sound is nil for an index that can be used, ErrDamaged for one that can't, and otherwise what kept it from looking.
func sound(ctx context.Context, db *sql.DB) error {
	var v int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&v); err != nil {
		return damage(err)
	}
	if v != version {
		return fmt.Errorf("%w: it has version %d instead of %d", ErrDamaged, v, version)
	}
	var says string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&says); err != nil {
		return damage(err)
	}
	if says != "ok" {
		return fmt.Errorf("%w: %s", ErrDamaged, says)
	}
	return nil
}

// damage tells what is wrong with the file from what is wrong with reading it: only the former is mended by making it again.
func damage(err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) {
		// The low byte is the primary code, https://sqlite.org/rescode.html.
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	return fmt.Errorf("reading the index of finished runs: %w", err)
}

// removeIndex removes an index and what belongs to it.
func removeIndex(path string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Remove removes an index that nobody has open; Open makes it again.
func Remove(path string) error {
	if err := removeIndex(path); err != nil {
		return fmt.Errorf("removing the index of finished runs: %w", err)
	}
	return nil
}
