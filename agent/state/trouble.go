package state

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"syscall"

	bolt "go.etcd.io/bbolt"
)

// problems of a database, in words for people; each says what it means for jobs and what to do.
type problems struct {
	// schema: a newer agent wrote it. damaged: it was put aside. writing: it can't be written now, or not even opened.
	schema, damaged, writing string
	// damagedPath is what was put aside; the problem lasts until somebody has removed it.
	damagedPath string
}

// Problems are what is wrong with the database now; empty if nothing is. It never waits for a disk.
func (db *DB) Problems() []string {
	if p := db.shown.Load(); p != nil {
		return *p
	}
	return nil
}

// change changes what is wrong, and what is shown of it.
func (db *DB) change(f func(*problems)) {
	db.mu.Lock()
	defer db.mu.Unlock()
	f(&db.wrong)
	var out []string
	for _, text := range []string{db.wrong.schema, db.wrong.damaged, db.wrong.writing} {
		if text != "" {
			out = append(out, "degraded: "+text)
		}
	}
	db.shown.Store(&out)
}

// wrote notes how a write went.
func (db *DB) wrote(err error) {
	switch {
	case err == nil && len(db.Problems()) == 0:
		return
	case err == nil:
		db.change(func(p *problems) { p.writing = "" })
	default:
		db.change(func(p *problems) {
			p.writing = fmt.Sprintf("the agent's database %s can't be written (%v); jobs that run go on, and what they do is kept in memory until the host is restarted; "+
				"new jobs are refused; %s", db.path, err, advice(err))
		})
	}
}

func advice(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "free space on its file system"
	case errors.Is(err, syscall.EROFS):
		return "its file system is read-only: look at the kernel's log for errors of the disk"
	case errors.Is(err, errDamaged):
		return "look at the kernel's log for errors of the disk, and restart the agent: it puts the file aside and goes on from memory"
	}
	return "mend its file system; the agent tries again by itself"
}

// errDamaged: what the database holds makes no sense.
var errDamaged = errors.New("the file is damaged")

// ofTheHost says whether an error is the host's, a full or broken disk say, and tells nothing of what a file holds.
func ofTheHost(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno)
}

// guarded calls what touches the database's mapped file. A damaged one makes bbolt panic, a shortened one makes the kernel refuse the page; neither may
// take the process down.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errDamaged, r)
		}
	}()
	return f()
}

// update writes, if the database is one that may be written.
func (db *DB) update(f func(*bolt.Tx) error) error {
	db.opening.RLock()
	defer db.opening.RUnlock()
	if db.foreign {
		return fmt.Errorf("%w; start the newer agent", ErrSchema)
	}
	err := db.cause
	if db.bolt != nil {
		err = guarded(func() error { return db.bolt.Update(f) })
	}
	db.wrote(err)
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

// Mend tries again to open or to write a database that could not be, and brings it up to date. Call it now and then.
func (db *DB) Mend() {
	db.mu.Lock()
	troubled, aside := db.wrong.writing != "", db.wrong.damagedPath
	db.mu.Unlock()
	if aside != "" {
		if _, err := os.Lstat(aside); errors.Is(err, os.ErrNotExist) {
			db.change(func(p *problems) { p.damaged, p.damagedPath = "", "" })
		}
	}
	if !troubled || db.foreign {
		return
	}
	db.opening.Lock()
	if db.bolt == nil {
		db.bolt, db.cause = openAndRead(db.path)
	}
	db.opening.Unlock()
	records, err := db.mirror.load()
	if err != nil {
		return
	}
	// Also without any record: whether it can be written is what is asked.
	_ = db.update(func(tx *bolt.Tx) error {
		for id, r := range records {
			if err := putRecord(tx, id, r); err != nil {
				return err
			}
		}
		return putSchema(tx)
	})
}
