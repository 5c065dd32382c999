package logs

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// topic is what followers of one run wait on.
type topic struct {
	changed   chan struct{}
	followers int
}

// Follower hears of the changes of one run's logs. Close it.
type Follower struct {
	s    *Store
	run  string
	once sync.Once
}

// Follow returns a follower of a run, which need not have logs yet.
func (s *Store) Follow(run string) *Follower {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[run]
	if t == nil {
		t = &topic{changed: make(chan struct{})}
		s.topics[run] = t
	}
	t.followers++
	return &Follower{s: s, run: run}
}

// Changed returns a channel that closes with the next change of any log of the run. Take it before List, or a change is missed. Not after Close.
func (f *Follower) Changed() <-chan struct{} {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	return f.s.topics[f.run].changed
}

// Close ends following.
func (f *Follower) Close() {
	f.once.Do(func() {
		f.s.mu.Lock()
		defer f.s.mu.Unlock()
		t := f.s.topics[f.run]
		if t.followers--; t.followers == 0 {
			delete(f.s.topics, f.run)
		}
	})
}

func (s *Store) signal(run string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.topics[run]; t != nil {
		close(t.changed)
		t.changed = make(chan struct{})
	}
}

// List describes the logs of a run, ordered by attempt (oldest first) and step. A log that a final report names but of which no byte
// came yet is among them, unless it is empty.
func (s *Store) List(run string) ([]Info, error) {
	if err := checkName(run); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Join(s.root, "runs", run))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the logs of run %s: %w", run, err)
	}
	var infos []Info
	for _, e := range entries { // in order of name: attempt ids grow with time
		a, unpin, err := s.pin(e.Name())
		if errors.Is(err, ErrUnknownAttempt) || errors.Is(err, ErrBadName) {
			continue // being registered at this moment, or a file of another's
		}
		if err != nil {
			return nil, err
		}
		infos = append(infos, a.infos()...)
		unpin()
	}
	return infos, nil
}

func (a *attempt) infos() []Info {
	a.mu.Lock()
	defer a.mu.Unlock()
	infos := make([]Info, 0, len(a.logs))
	for step, f := range a.logs {
		f.mu.Lock()
		i := Info{Job: a.meta.Job, Attempt: a.meta.Attempt, Step: step, Size: f.size, Want: f.end, Damaged: f.damaged}
		f.mu.Unlock()
		if sum, ok := a.sums[step]; ok {
			i.Want = sum.Length
		} else if a.sums != nil && i.Want < 0 {
			i.Want = i.Size // the agent is through with the attempt and says nothing of this log
		}
		infos = append(infos, i)
	}
	for step, sum := range a.sums {
		if a.logs[step] == nil && sum.Length > 0 {
			infos = append(infos, Info{Job: a.meta.Job, Attempt: a.meta.Attempt, Step: step, Want: sum.Length})
		}
	}
	slices.SortFunc(infos, func(x, y Info) int { return cmp.Compare(x.Step, y.Step) })
	return infos
}

// ReadAt reads from a log at offset, as io.ReaderAt does; io.EOF where it has no more bytes now.
func (s *Store) ReadAt(attemptID string, step uint32, p []byte, offset int64) (int, error) {
	a, unpin, err := s.pin(attemptID)
	if err != nil {
		return 0, err
	}
	defer unpin()
	a.mu.Lock()
	f := a.logs[step]
	a.mu.Unlock()
	if f == nil {
		return 0, io.EOF
	}
	f.mu.Lock()
	left := f.size - offset
	f.mu.Unlock()
	if left <= 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > left {
		p = p[:left] // never what a write in flight has put there
	}
	r, err := os.Open(f.path(".log"))
	if err != nil {
		return 0, fmt.Errorf("reading a log: %w", err)
	}
	n, err := r.ReadAt(p, offset)
	_ = r.Close()
	if n < len(p) {
		return n, fmt.Errorf("reading a log at %d: %w", offset, err)
	}
	return n, nil
}
