package logs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// keepInMemory is how many attempts may be in memory before those that nobody uses leave it.
const keepInMemory = 1024

// Store keeps logs under a directory. Safe for concurrent use; one process at a time may have it open.
type Store struct {
	root    string
	log     *slog.Logger
	keep    int
	journal *journal

	mu       sync.Mutex
	attempts map[string]*attempt
	topics   map[string]*topic // of the runs that are followed
}

// Open returns the store in root, made if missing.
func Open(root string, log *slog.Logger) (*Store, error) {
	s := &Store{root: root, log: log, keep: keepInMemory, attempts: map[string]*attempt{}, topics: map[string]*topic{}}
	for _, dir := range []string{"attempts", "runs"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			return nil, fmt.Errorf("making the log store: %w", err)
		}
	}
	var err error
	if s.journal, err = openJournal(root); err != nil {
		return nil, fmt.Errorf("opening the log store: %w", err)
	}
	return s, nil
}

// Close ends the use of the store. Writers are to be closed before.
func (s *Store) Close() error { return s.journal.close() }

// attempt is what memory holds of one; everything in it can be read back from its directory.
type attempt struct {
	dir  string
	meta Meta
	// pins counts who uses it now; guarded by the store's mutex. Only an unpinned one may leave memory.
	pins int

	housing sync.Mutex
	housed  bool // it has its directory

	settling sync.Mutex
	settled  bool // its registration is durable

	mu   sync.Mutex
	logs map[uint32]*file
	sums map[uint32]Sum // nil before the final report
}

// Register makes an attempt known, also to a process after this one. Idempotent. It is safe from a crash of the host with the first Sync of any
// of its logs, so that nobody waits for the disk before there is something to lose.
func (s *Store) Register(m Meta) error {
	if err := checkName(m.Run, m.Attempt); err != nil {
		return err
	}
	if _, unpin, err := s.pin(m.Attempt); err == nil {
		unpin()
		return nil
	}
	if err := s.journal.add(m); err != nil {
		return fmt.Errorf("registering attempt %s: %w", m.Attempt, err)
	}
	return nil
}

func (a *attempt) hasHouse() bool {
	a.housing.Lock()
	defer a.housing.Unlock()
	return a.housed
}

// settle makes durable what house made, and the names of new logs.
func (s *Store) settle(a *attempt) error {
	a.settling.Lock()
	defer a.settling.Unlock()
	if !a.settled {
		if err := syncPath(filepath.Join(a.dir, "meta.json")); err != nil {
			return err
		}
		for _, dir := range []string{"attempts", "runs", filepath.Join("runs", a.meta.Run)} {
			if err := syncPath(filepath.Join(s.root, dir)); err != nil {
				return err
			}
		}
		a.settled = true
	}
	return syncPath(a.dir)
}

// Meta returns what Register was told, or ErrUnknownAttempt.
func (s *Store) Meta(attemptID string) (Meta, error) {
	a, unpin, err := s.pin(attemptID)
	if err != nil {
		return Meta{}, err
	}
	defer unpin()
	return a.meta, nil
}

// pin returns a known attempt, from memory or disk, and keeps it in memory until unpin.
func (s *Store) pin(id string) (a *attempt, unpin func(), err error) {
	if err := checkName(id); err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a = s.attempts[id]
	if a == nil {
		dir := filepath.Join(s.root, "attempts", id)
		if m, ok := s.journal.get(id); ok {
			a = &attempt{dir: dir, meta: m, logs: map[uint32]*file{}}
		} else if a, err = loadAttempt(dir); err != nil {
			return nil, nil, fmt.Errorf("attempt %s: %w", id, err)
		}
		s.attempts[id] = a
	}
	a.pins++
	return a, func() { s.unpin(id, a) }, nil
}

func (s *Store) unpin(id string, a *attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.pins--
	if a.pins == 0 && len(s.attempts) > s.keep && !a.broken() {
		delete(s.attempts, id)
	}
}

// broken says that a disk error must be remembered.
func (a *attempt) broken() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, f := range a.logs {
		f.mu.Lock()
		broken := f.broken != nil || f.damaged
		f.mu.Unlock()
		if broken {
			return true
		}
	}
	return false
}

func loadAttempt(dir string) (*attempt, error) {
	a := &attempt{dir: dir, logs: map[uint32]*file{}, housed: true}
	data, err := os.ReadFile(filepath.Join(dir, "meta.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrUnknownAttempt
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &a.meta); err != nil {
		// Cut short by a crash of the host before its first Sync, so nothing of it was acknowledged: register it again.
		return nil, ErrUnknownAttempt
	}
	if err := a.loadSums(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".log")
		step, err := strconv.ParseUint(name, 10, 32)
		if !ok || err != nil {
			continue
		}
		f, err := loadFile(dir, uint32(step))
		if err != nil {
			return nil, err
		}
		a.logs[uint32(step)] = f
	}
	return a, nil
}

func (a *attempt) loadSums() error {
	data, err := os.ReadFile(filepath.Join(a.dir, "sums.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var sums []Sum
	if err := json.Unmarshal(data, &sums); err != nil {
		return fmt.Errorf("reading its sums.json: %w", err)
	}
	a.setSums(sums)
	return nil
}

func (a *attempt) setSums(sums []Sum) {
	a.sums = make(map[uint32]Sum, len(sums))
	for _, s := range sums {
		a.sums[s.Step] = s
	}
}

// file returns the log of a step, new if there is none.
func (a *attempt) file(step uint32) *file {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.logs[step]
	if f == nil {
		f = newFile(a.dir, step)
		a.logs[step] = f
	}
	return f
}

// Finish records what the attempt's final report says of its logs, durably, before the report itself takes effect: from then on
// followers know what to wait for. Idempotent; the first call holds.
func (s *Store) Finish(attemptID string, sums []Sum) error {
	a, unpin, err := s.pin(attemptID)
	if err != nil {
		return err
	}
	defer unpin()
	a.mu.Lock()
	known := a.sums != nil
	a.mu.Unlock()
	if known {
		return nil
	}
	valid := slices.DeleteFunc(slices.Clone(sums), func(sum Sum) bool { return !sum.valid() })
	if len(valid) < len(sums) {
		s.log.Warn("a final report has log sums that can't be", "run", a.meta.Run, "attempt", attemptID, "left_out", len(sums)-len(valid))
		sums = valid
	}
	if len(sums) == 0 && !a.hasHouse() {
		// It has no logs and will have none: there is nothing to remember.
		s.journal.done(attemptID)
		return nil
	}
	data, err := json.Marshal(sums)
	if err == nil {
		err = s.house(a)
	}
	if err == nil {
		err = errors.Join(writeFile(filepath.Join(a.dir, "sums.json"), data), s.settle(a))
	}
	if err != nil {
		return fmt.Errorf("recording the log sums of attempt %s: %w", attemptID, err)
	}
	a.mu.Lock()
	a.setSums(sums)
	a.mu.Unlock()
	for _, sum := range sums {
		s.verify(a, sum.Step)
	}
	s.signal(a.meta.Run)
	return nil
}

// Finished says whether the attempt's final report is known.
func (s *Store) Finished(attemptID string) bool {
	a, unpin, err := s.pin(attemptID)
	if err != nil {
		return false
	}
	defer unpin()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sums != nil
}

// writeFile makes a file whole or not at all, durably.
func writeFile(path string, data []byte) error { return installFile(path, data, true) }

// replaceFile makes a file whole or not at all, except in a crash of the host.
func replaceFile(path string, data []byte) error { return installFile(path, data, false) }

func installFile(path string, data []byte, durable bool) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err == nil && durable {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil || !durable {
		return err
	}
	return syncPath(filepath.Dir(path))
}

// syncPath makes a file or a directory durable.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
