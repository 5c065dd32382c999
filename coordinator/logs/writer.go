package logs

import (
	"errors"
	"fmt"
)

// maxStep bounds the logs that one attempt can have.
const maxStep = 9999

// Writer appends to one log.
type Writer struct {
	s    *Store
	a    *attempt
	step uint32
	f    *file
	done func()
}

// Writer opens the log of a step of a registered attempt. Close it.
func (s *Store) Writer(attemptID string, step uint32) (*Writer, error) {
	if step > maxStep {
		return nil, fmt.Errorf("step %d of attempt %s: %w (at most %d)", step, attemptID, ErrBadName, maxStep)
	}
	a, unpin, err := s.pin(attemptID)
	if err != nil {
		return nil, err
	}
	if err := s.house(a); err != nil {
		unpin()
		return nil, err
	}
	f := a.file(step)
	if err := f.acquire(); err != nil {
		unpin()
		return nil, err
	}
	return &Writer{s: s, a: a, step: step, f: f, done: unpin}, nil
}

// Append writes data, whose first byte belongs at offset; end says that the log ends with it. Bytes that the log has already are
// skipped. Readers see them at once; they are durable after Sync. Errors: GapError, ErrEnded, or the disk's.
func (w *Writer) Append(offset int64, data []byte, end bool) error {
	grew, err := w.f.append(offset, data, end)
	if err != nil {
		return err
	}
	if grew {
		w.s.verify(w.a, w.step)
		w.s.signal(w.a.meta.Run)
	}
	return nil
}

// Sync makes all bytes appended so far durable; the log's bytes [0, durable) can be acknowledged.
func (w *Writer) Sync() (durable int64, err error) {
	return w.f.sync(func() error { return w.s.settle(w.a) })
}

// Close gives the log back. It does not sync.
func (w *Writer) Close() {
	w.f.release()
	w.done()
}

// verify holds a log that has its final length against the attempt's final report, once.
func (s *Store) verify(a *attempt, step uint32) {
	a.mu.Lock()
	sum, ok := a.sums[step]
	f := a.logs[step]
	a.mu.Unlock()
	if !ok || f == nil {
		return
	}
	f.mu.Lock()
	size := f.size
	f.mu.Unlock()
	if size < sum.Length {
		return
	}
	got, err := f.digest()
	if err == nil && (got != sum.SHA256 || size != sum.Length) {
		err = errors.New("the bytes are not those that the agent reported")
	}
	if err == nil {
		return
	}
	f.mu.Lock()
	f.damaged = true
	f.mu.Unlock()
	s.log.Error("a log is damaged", "run", a.meta.Run, "job", a.meta.Job, "attempt", a.meta.Attempt, "step", step,
		"size", size, "want_size", sum.Length, "sha256", got, "want_sha256", sum.SHA256, "error", err)
}
