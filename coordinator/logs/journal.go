package logs

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Registrations are lines of one file until an attempt has logs: most of the work of a coordinator with many short jobs would be making
// directories for them. A line that is lost in a crash of the host costs nothing: nothing of that attempt was acknowledged, and whoever
// pushes registers it again.
const (
	journalName = "registered.jsonl"
	// journalSlack is how many lines may be of attempts that have logs or have ended, before the file is written anew.
	journalSlack = 20_000
	// journalMost bounds the attempts that never got a log nor a final report: those that were lost. The oldest are forgotten first.
	journalMost = 100_000
	// perLive is how many lines there may be beside for each attempt that waits.
	perLive = 2
)

type journal struct {
	root string

	mu      sync.Mutex
	waiting map[string]Meta
	file    *os.File
	lines   int
}

// openJournal reads what is registered and has no directory yet.
func openJournal(root string) (*journal, error) {
	j := &journal{root: root, waiting: map[string]Meta{}}
	data, err := os.ReadFile(j.path())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range bytes.Lines(data) {
		var m Meta
		j.lines++
		if json.Unmarshal(line, &m) != nil || checkName(m.Run, m.Attempt) != nil {
			continue // cut short by a crash
		}
		if _, err := os.Stat(filepath.Join(root, "attempts", m.Attempt, "meta.json")); errors.Is(err, fs.ErrNotExist) {
			j.waiting[m.Attempt] = m
		}
	}
	return j, nil
}

func (j *journal) path() string { return filepath.Join(j.root, journalName) }

// add registers an attempt; nothing happens if it is.
func (j *journal) add(m Meta) error {
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, known := j.waiting[m.Attempt]; known {
		return nil
	}
	if j.file == nil || j.lines > journalSlack+perLive*len(j.waiting) {
		if err := j.rewrite(); err != nil {
			return err
		}
	}
	if _, err := j.file.Write(append(line, '\n')); err != nil {
		return err
	}
	j.lines++
	j.waiting[m.Attempt] = m
	return nil
}

// rewrite makes the file hold what still waits, and opens it. The caller holds mu.
func (j *journal) rewrite() error {
	if over := len(j.waiting) - journalMost; over > 0 {
		for _, id := range j.ids()[:over] {
			delete(j.waiting, id)
		}
	}
	var all bytes.Buffer
	w := bufio.NewWriter(&all)
	enc := json.NewEncoder(w)
	for _, id := range j.ids() {
		if err := enc.Encode(j.waiting[id]); err != nil {
			return err
		}
	}
	if err := errors.Join(w.Flush(), replaceFile(j.path(), all.Bytes())); err != nil {
		return err
	}
	if j.file != nil {
		_ = j.file.Close()
	}
	var err error
	j.file, err = os.OpenFile(j.path(), os.O_WRONLY|os.O_APPEND, 0o600)
	j.lines = len(j.waiting)
	return err
}

// ids of what waits; they grow with time. The caller holds mu.
func (j *journal) ids() []string {
	ids := make([]string, 0, len(j.waiting))
	for id := range j.waiting {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, strings.Compare)
	return ids
}

func (j *journal) get(attempt string) (Meta, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	m, ok := j.waiting[attempt]
	return m, ok
}

// done forgets an attempt that has a directory now, or will have no logs.
func (j *journal) done(attempt string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.waiting, attempt)
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	file := j.file
	j.file = nil
	return file.Close()
}

// house makes the directories of an attempt that is to have logs.
func (s *Store) house(a *attempt) error {
	a.housing.Lock()
	defer a.housing.Unlock()
	if a.housed {
		return nil
	}
	data, err := json.Marshal(a.meta)
	if err != nil {
		return fmt.Errorf("registering attempt %s: %w", a.meta.Attempt, err)
	}
	runDir := filepath.Join(s.root, "runs", a.meta.Run)
	err = errors.Join(os.MkdirAll(a.dir, 0o700), os.MkdirAll(runDir, 0o700))
	if err == nil {
		err = os.WriteFile(filepath.Join(runDir, a.meta.Attempt), nil, 0o600)
	}
	if err == nil { // last: from here on the directory says all
		err = replaceFile(filepath.Join(a.dir, "meta.json"), data)
	}
	if err != nil {
		return fmt.Errorf("registering attempt %s: %w", a.meta.Attempt, err)
	}
	a.housed = true
	s.journal.done(a.meta.Attempt)
	return nil
}
