// Package state is the agent's memory on disk: which attempts it holds and how far each has come, so that a new process
// can go on where the last one was killed. It holds no secret: tokens, masks, environments and outputs lie on a tmpfs
// (see workspace).
//
// A write survives the death of this process at once, but the disk's power loss only after Sync: a host that lost power
// has lost its containers too, so there is nothing to go on with.
package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"
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
	path string
	// opening guards bolt, which is nil while the file can't be opened, for cause.
	opening sync.RWMutex
	bolt    *bolt.DB
	cause   error
	// foreign: a newer agent wrote it. It is only read.
	foreign bool
	mirror  *mirror
	// boot is a file that is there while the database is open.
	boot string

	mu    sync.Mutex
	wrong problems
	shown atomic.Pointer[[]string]
}

// Close writes everything to the disk and closes.
func (db *DB) Close() error {
	db.opening.Lock()
	defer db.opening.Unlock()
	switch {
	case db.bolt == nil:
		return nil
	case db.foreign:
		return db.bolt.Close()
	}
	err := guarded(func() error { return errors.Join(db.bolt.Sync(), db.bolt.Close()) })
	if err == nil {
		err = ignoreGone(os.Remove(db.boot))
	}
	return err
}

// Sync makes all writes so far survive a power loss.
func (db *DB) Sync() error {
	db.opening.RLock()
	defer db.opening.RUnlock()
	if db.bolt == nil || db.foreign {
		return nil
	}
	return db.bolt.Sync()
}

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
	id := a.GetAttemptId()
	if err := db.mirror.create(id, data, progress); err != nil {
		return errors.Join(err, db.mirror.remove(id))
	}
	err = db.update(func(tx *bolt.Tx) error { return put(tx, id, data, progress) })
	if err != nil {
		// An agent that could forget the attempt with the host's next boot takes none.
		return errors.Join(err, db.mirror.remove(id))
	}
	return nil
}

func put(tx *bolt.Tx, id string, assignment, progress []byte) error {
	if err := tx.Bucket(bucketAssignments).Put([]byte(id), assignment); err != nil {
		return err
	}
	return tx.Bucket(bucketProgress).Put([]byte(id), progress)
}

func putRecord(tx *bolt.Tx, id string, r *Record) error {
	assignment, err := proto.Marshal(r.Assignment)
	if err != nil {
		return fmt.Errorf("assignment: %w", err)
	}
	progress, err := json.Marshal(r.Progress)
	if err != nil {
		return fmt.Errorf("progress: %w", err)
	}
	return put(tx, id, assignment, progress)
}

// Save replaces an attempt's progress. Nil also if only the copy in memory could be written: a restart of the agent goes on from that.
func (db *DB) Save(id string, p *Progress) error {
	data, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("state: progress: %w", err)
	}
	memory := db.mirror.save(id, data)
	err = db.update(func(tx *bolt.Tx) error { return tx.Bucket(bucketProgress).Put([]byte(id), data) })
	if memory == nil {
		return nil
	}
	return err
}

func ackKey(id string, step uint32) []byte { return fmt.Appendf(nil, "%s/%d", id, step) }

// SaveAck notes what the store holds of a step's log.
func (db *DB) SaveAck(id string, step uint32, a Ack) error {
	data, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("state: ack: %w", err)
	}
	return db.update(func(tx *bolt.Tx) error { return tx.Bucket(bucketAcks).Put(ackKey(id, step), data) })
}

// Delete forgets an attempt. Nil when there is none. A newer agent's records are left to it.
func (db *DB) Delete(id string) error {
	if db.foreign {
		return nil
	}
	memory := db.mirror.remove(id)
	return errors.Join(memory, db.update(func(tx *bolt.Tx) error {
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
	}))
}

// Load returns every attempt by id. Of a newer agent's attempts only the ids are known.
func (db *DB) Load() (map[string]*Record, error) {
	db.opening.RLock()
	defer db.opening.RUnlock()
	if db.foreign {
		return named(db.bolt)
	}
	disk := map[string]*Record{}
	if db.bolt != nil {
		err := guarded(func() (err error) {
			disk, err = load(db.bolt)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	memory, err := db.mirror.load()
	if err != nil {
		return nil, err
	}
	return merge(disk, memory), nil
}

// named returns records that name their attempts, and nothing else.
func named(b *bolt.DB) (map[string]*Record, error) {
	out := map[string]*Record{}
	err := guarded(func() error {
		return b.View(func(tx *bolt.Tx) error {
			bucket := tx.Bucket(bucketAssignments)
			if bucket == nil {
				return nil
			}
			return bucket.ForEach(func(k, _ []byte) error {
				out[string(k)] = Bare(string(k))
				return nil
			})
		})
	})
	return out, err
}

// Bare is the record of an attempt of which nothing is known but its id.
func Bare(id string) *Record {
	return &Record{Assignment: &fleetv1.Assignment{AttemptId: id}, Progress: &Progress{}, Acked: map[uint32]Ack{}}
}

// Foreign is whether a newer agent wrote the database: then nothing can be done with what it holds.
func (db *DB) Foreign() bool { return db.foreign }

func load(b *bolt.DB) (map[string]*Record, error) {
	out := map[string]*Record{}
	err := b.View(func(tx *bolt.Tx) error {
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
