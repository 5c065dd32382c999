package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"

	// The driver "sqlite".
	_ "modernc.org/sqlite"
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

// openIndex opens an index, and makes it anew if there is none, or it is damaged or of another version. fresh: it is empty.
func openIndex(ctx context.Context, path string) (db *sql.DB, fresh bool, err error) {
	_, statErr := os.Stat(path)
	db, err = connect(path)
	if err != nil {
		return nil, false, err
	}
	if statErr == nil && healthy(ctx, db) {
		return db, false, nil
	}
	if err := errors.Join(db.Close(), removeIndex(path)); err != nil {
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
	options := url.Values{"_pragma": {"journal_mode(WAL)", "synchronous(NORMAL)", "busy_timeout(10000)", "cache_size(-8000)"}, "_txlock": {"immediate"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+options.Encode())
	if err != nil {
		return nil, fmt.Errorf("opening the index of finished runs: %w", err)
	}
	db.SetMaxOpenConns(4)
	return db, nil
}

func healthy(ctx context.Context, db *sql.DB) bool {
	var v int
	var says string
	return db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&v) == nil && v == version &&
		db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&says) == nil && says == "ok"
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
