// Package state is the agent's memory on disk: which attempts it holds and how far each has come, so that a new process
// can go on where the last one was killed. It holds no secret: tokens, masks, environments and outputs lie on a tmpfs
// (see workspace).
//
// A write survives the death of this process at once, but the disk's power loss only after Sync: a host that lost power
// has lost its containers too, so there is nothing to go on with.
package state

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"google.golang.org/protobuf/proto"

	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// Schema is the version of the records. A newer agent reads the version before; an older one refuses a newer one.
const Schema = 1

// ErrSchema: the database was written by a newer agent.
var ErrSchema = errors.New("state: written by a newer agent")

var (
	bucketMeta        = []byte("meta")
	bucketAssignments = []byte("assignments")
	bucketProgress    = []byte("progress")
	bucketAcks        = []byte("acks")
	keySchema         = []byte("schema")
)

// DB is the database. Safe for concurrent use.
type DB struct {
	bolt *bolt.DB
	// boot is a file that is there while the database is open.
	boot string
}

// Open opens or makes the database in dir. boot names this boot of the host (Boot). A database that can't be read is put
// aside, and so is one that an earlier boot left without Close: it may be torn, and its pods are gone with that boot.
func Open(dir, boot string) (*DB, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	path := filepath.Join(dir, "state.db")
	if left := bootOf(dir); left != "" && left != boot {
		if err := os.Rename(path, path+".torn"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("state: %w", err)
		}
	}
	db, err := openAndRead(path)
	if err != nil && !errors.Is(err, ErrSchema) && !errors.Is(err, bolterrors.ErrTimeout) {
		if rerr := os.Rename(path, path+".damaged"); rerr != nil {
			return nil, fmt.Errorf("state: %s is damaged (%w) and can't be put aside: %w", path, err, rerr)
		}
		db, err = openAndRead(path)
	}
	if err != nil {
		return nil, err
	}
	db.boot = filepath.Join(dir, "boot")
	if err := os.WriteFile(db.boot, []byte(boot), 0o600); err != nil {
		_ = db.bolt.Close()
		return nil, fmt.Errorf("state: %w", err)
	}
	return db, nil
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

// openAndRead reads everything once. A damaged database makes bbolt panic; that must not take the process down.
func openAndRead(path string) (db *DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("state: %s: %v", path, r)
		}
		if err != nil && db != nil {
			_ = db.bolt.Close()
			db = nil
		}
	}()
	if db, err = open(path); err != nil {
		return nil, err
	}
	_, err = db.Load()
	return db, err
}

func open(path string) (*DB, error) {
	b, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 2 * time.Second, NoSync: true, FreelistType: bolt.FreelistMapType})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("state: %s is in use: is another agent running on it? %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("state: open %s: %w", path, err)
	}
	err = b.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{bucketMeta, bucketAssignments, bucketProgress, bucketAcks} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketMeta)
		if v := meta.Get(keySchema); v != nil && binary.BigEndian.Uint32(v) > Schema {
			return fmt.Errorf("%w: %s has schema %d, this agent knows %d; start the newer agent", ErrSchema, path, binary.BigEndian.Uint32(v), Schema)
		}
		return meta.Put(keySchema, binary.BigEndian.AppendUint32(nil, Schema))
	})
	if err != nil {
		_ = b.Close()
		return nil, err
	}
	return &DB{bolt: b}, nil
}

// Close writes everything to the disk and closes.
func (db *DB) Close() error {
	err := errors.Join(db.bolt.Sync(), db.bolt.Close())
	if err == nil {
		err = os.Remove(db.boot)
	}
	return err
}

// Sync makes all writes so far survive a power loss.
func (db *DB) Sync() error { return db.bolt.Sync() }

// Record is one attempt as the database holds it.
type Record struct {
	// Assignment without its token.
	Assignment *fleetv1.Assignment
	Progress   *Progress
	// Acked is what the store holds of each step's log.
	Acked map[uint32]Ack
}

// Ack is how much of a step's log the store holds.
type Ack struct {
	Offset   int64 `json:"offset"`
	Complete bool  `json:"complete,omitempty"`
}

// Create keeps a new attempt. The assignment's token is left out.
func (db *DB) Create(a *fleetv1.Assignment, p *Progress) error {
	bare := proto.CloneOf(a)
	bare.Token = ""
	data, err := proto.Marshal(bare)
	if err != nil {
		return fmt.Errorf("state: assignment: %w", err)
	}
	progress, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("state: progress: %w", err)
	}
	return db.bolt.Update(func(tx *bolt.Tx) error {
		id := []byte(a.GetAttemptId())
		if err := tx.Bucket(bucketAssignments).Put(id, data); err != nil {
			return err
		}
		return tx.Bucket(bucketProgress).Put(id, progress)
	})
}

// Save replaces an attempt's progress.
func (db *DB) Save(id string, p *Progress) error {
	data, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("state: progress: %w", err)
	}
	return db.bolt.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketProgress).Put([]byte(id), data) })
}

func ackKey(id string, step uint32) []byte { return fmt.Appendf(nil, "%s/%d", id, step) }

// SaveAck notes what the store holds of a step's log.
func (db *DB) SaveAck(id string, step uint32, a Ack) error {
	data, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("state: ack: %w", err)
	}
	return db.bolt.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketAcks).Put(ackKey(id, step), data) })
}

// Delete forgets an attempt. Nil when there is none.
func (db *DB) Delete(id string) error {
	return db.bolt.Update(func(tx *bolt.Tx) error {
		if err := tx.Bucket(bucketAssignments).Delete([]byte(id)); err != nil {
			return err
		}
		if err := tx.Bucket(bucketProgress).Delete([]byte(id)); err != nil {
			return err
		}
		acks := tx.Bucket(bucketAcks)
		var keys [][]byte
		prefix := id + "/"
		c := acks.Cursor()
		for k, _ := c.Seek([]byte(prefix)); strings.HasPrefix(string(k), prefix); k, _ = c.Next() {
			keys = append(keys, append([]byte(nil), k...))
		}
		for _, k := range keys {
			if err := acks.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
}

// Load returns every attempt by id.
func (db *DB) Load() (map[string]*Record, error) {
	out := map[string]*Record{}
	err := db.bolt.View(func(tx *bolt.Tx) error {
		err := tx.Bucket(bucketAssignments).ForEach(func(k, v []byte) error {
			r := &Record{Assignment: &fleetv1.Assignment{}, Progress: &Progress{}, Acked: map[uint32]Ack{}}
			if err := proto.Unmarshal(v, r.Assignment); err != nil {
				return fmt.Errorf("state: assignment of attempt %s: %w", k, err)
			}
			if err := json.Unmarshal(tx.Bucket(bucketProgress).Get(k), r.Progress); err != nil {
				return fmt.Errorf("state: progress of attempt %s: %w", k, err)
			}
			out[string(k)] = r
			return nil
		})
		if err != nil {
			return err
		}
		return tx.Bucket(bucketAcks).ForEach(func(k, v []byte) error {
			id, step, _ := strings.Cut(string(k), "/")
			n, err := strconv.ParseUint(step, 10, 32)
			if err != nil {
				return fmt.Errorf("state: ack %s: %w", k, err)
			}
			if out[id] == nil {
				return nil
			}
			var a Ack
			if err := json.Unmarshal(v, &a); err != nil {
				return fmt.Errorf("state: ack %s: %w", k, err)
			}
			out[id].Acked[uint32(n)] = a
			return nil
		})
	})
	return out, err
}
