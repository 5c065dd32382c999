package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Config of a database.
type Config struct {
	// Dir holds it.
	Dir string
	// Boot names this boot of the host; see Boot.
	Boot string
	// Mirror is a directory on a tmpfs for a second copy, with which nothing is forgotten when the disk is full or the file damaged; "" keeps none.
	Mirror string
}

// Open opens or makes a database without a second copy.
func Open(dir, boot string) (*DB, error) { return OpenWith(Config{Dir: dir, Boot: boot}) }

// OpenWith opens or makes a database. One that can't be read is put aside, and so is one that an earlier boot left without Close: it may be
// torn, and its pods are gone with that boot. One that a newer agent wrote is only read: its attempts are named, and nothing can be done with
// them. One that can't be opened for want of space, say, is tried again by Mend. Problems tells of all these; an error is left for what no agent
// can live with, a second agent on the same directory above all.
func OpenWith(c Config) (*DB, error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	db := &DB{path: filepath.Join(c.Dir, "state.db"), boot: filepath.Join(c.Dir, "boot")}
	if left := bootOf(c.Dir); left != "" && left != c.Boot {
		if err := os.Rename(db.path, db.path+".torn"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("state: %w", err)
		}
	}
	var merr error
	if db.mirror, merr = openMirror(c.Mirror, c.Boot); merr != nil && !errors.Is(merr, ErrSchema) {
		return nil, merr
	}
	b, err := openAndRead(db.path)
	if err == nil && merr != nil {
		// The file is older than what the newer agent kept in memory.
		err = errors.Join(merr, b.Close())
	}
	switch {
	case err == nil:
		db.bolt = b
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, err
	case errors.Is(err, ErrSchema):
		if err := db.openForeign(err); err != nil {
			return nil, err
		}
		return db, nil
	case ofTheHost(err):
		db.cause = err
		db.wrote(err)
	default:
		if err := db.putAside(err); err != nil {
			return nil, err
		}
	}
	// Known from before if it says so: a full disk must not take that away.
	if bootOf(c.Dir) != c.Boot {
		if err := os.WriteFile(db.boot, []byte(c.Boot), 0o600); err != nil {
			db.wrote(err)
		}
	}
	return db, nil
}

// putAside begins a new database in place of a damaged one.
func (db *DB) putAside(why error) error {
	aside := db.path + ".damaged"
	if err := os.Rename(db.path, aside); err != nil {
		return fmt.Errorf("state: %s is damaged (%w) and can't be put aside: %w", db.path, why, err)
	}
	if db.bolt, db.cause = openAndRead(db.path); db.bolt == nil && !ofTheHost(db.cause) {
		return db.cause
	}
	kept, err := db.mirror.load()
	if err != nil {
		return err
	}
	db.change(func(p *problems) {
		p.damagedPath = aside
		p.damaged = fmt.Sprintf("the agent's database was damaged and was put aside as %s (%v); %d attempts go on from their copies in memory; look at the kernel's log for errors "+
			"of the disk, and delete the file when it is not needed", aside, why, len(kept))
	})
	return db.restore(kept)
}

// restore writes records that only the copy in memory has.
func (db *DB) restore(records map[string]*Record) error {
	err := db.update(func(tx *bolt.Tx) error {
		for id, r := range records {
			if err := putRecord(tx, id, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && !ofTheHost(err) {
		return err
	}
	return nil
}

// openForeign reads what can be read of a newer agent's database.
func (db *DB) openForeign(why error) error {
	db.foreign = true
	err := guarded(func() (err error) {
		db.bolt, err = bolt.Open(db.path, 0o600, &bolt.Options{Timeout: 2 * time.Second, ReadOnly: true})
		return err
	})
	if err != nil {
		return fmt.Errorf("state: open %s: %w", db.path, err)
	}
	db.change(func(p *problems) {
		p.schema = fmt.Sprintf("%v: its jobs are kept as they are and go on in their pods, but nothing is done for them, and new jobs are refused; start the newer agent", why)
	})
	return nil
}

// Boot identifies the host's current boot; "" where the kernel does not say.
func Boot() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// bootOf is the boot that left the database open; "" if it was closed.
func bootOf(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, "boot"))
	if err != nil {
		return ""
	}
	return string(b)
}

// openAndRead reads everything once.
func openAndRead(path string) (b *bolt.DB, err error) {
	_, missing := os.Lstat(path)
	err = guarded(func() error {
		if b, err = open(path); err != nil {
			return err
		}
		_, err = load(b)
		return err
	})
	if err != nil && b != nil {
		_ = guarded(b.Close)
		b = nil
	}
	if err != nil && errors.Is(missing, fs.ErrNotExist) {
		// Half made: the next try would take it for a damaged one.
		_ = os.Remove(path)
	}
	return b, err
}

// errFresh: there is nothing in the database yet.
var errFresh = errors.New("state: not made yet")

func open(path string) (*bolt.DB, error) {
	b, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 2 * time.Second, NoSync: true, FreelistType: bolt.FreelistMapType})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("state: %s is in use: is another agent running on it? %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("state: open %s: %w", path, err)
	}
	// Nothing is written that is there already: the disk may be full.
	if err = b.View(func(tx *bolt.Tx) error { return checkSchema(tx, path) }); errors.Is(err, errFresh) {
		err = b.Update(func(tx *bolt.Tx) error {
			for _, name := range [][]byte{bucketMeta, bucketAssignments, bucketProgress, bucketAcks} {
				if _, err := tx.CreateBucketIfNotExists(name); err != nil {
					return err
				}
			}
			return putSchema(tx)
		})
	}
	if err != nil {
		_ = b.Close()
		return nil, err
	}
	return b, nil
}

func checkSchema(tx *bolt.Tx, path string) error {
	for _, name := range [][]byte{bucketMeta, bucketAssignments, bucketProgress, bucketAcks} {
		if tx.Bucket(name) == nil {
			return errFresh
		}
	}
	v := tx.Bucket(bucketMeta).Get(keySchema)
	if v == nil {
		return errFresh
	}
	if n := binary.BigEndian.Uint32(v); n > Schema {
		return fmt.Errorf("%w: %s has schema %d, this agent knows %d", ErrSchema, path, n, Schema)
	}
	return nil
}

func putSchema(tx *bolt.Tx) error {
	return tx.Bucket(bucketMeta).Put(keySchema, binary.BigEndian.AppendUint32(nil, Schema))
}
