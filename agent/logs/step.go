package logs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"

	"github.com/slipway-ci/slipway/agent/commands"
)

// ErrStopping: the log was not filtered to its end because the agent stops.
var ErrStopping = errors.New("logs: the agent is stopping")

// readSize is how much of a raw file is filtered at once.
const readSize = 256 << 10

// maxAnnotations of one kind are kept of a step; GitHub shows ten.
const maxAnnotations = 10

// Bounds of the values that a step hands on with set-output and save-state.
const (
	maxValues     = 20_000
	maxValueBytes = 16 << 20
)

// buffers of a scan.
type buffers struct{ in, out []byte }

// pool is shared by all attempts of a process: most steps say little, and half a megabyte for each of them would be most of what an agent allocates.
var pool = sync.Pool{New: func() any { return &buffers{in: make([]byte, readSize), out: make([]byte, 0, readSize)} }}

// Result is what a step's output came to.
type Result struct {
	// Length in bytes of the log, after masking.
	Length int64
	// SHA256 of the log, lower-case hex.
	SHA256 string
	// Commands that matter to the runner, in order: annotations (ten a kind), add-mask, set-output, save-state, and those
	// that are Refused (ten).
	Commands []commands.Command
	// Hidden: the step declared more masks than there may be, and the rest of its output was hidden.
	Hidden bool
	// Dropped: the step printed more values than it may hand on.
	Dropped bool
}

// Step is the log of one step. The zero value is not usable; Attempt.Step makes it.
type Step struct {
	number  uint32
	path    string
	raw     *os.File
	wake    chan struct{}
	changed func()
	drained chan struct{}

	// Of the scanning goroutine only, until drained is closed.
	filter *Filter
	hash   hash.Hash
	result Result
	kinds  map[string]int
	// values and valueBytes count what set-output and save-state said.
	values, valueBytes int

	mu sync.Mutex
	// length of the log so far; what is below it can be sent.
	length int64
	// plainUntil: the log is the raw file below it; from there on it is overlay. -1 while there is no overlay.
	plainUntil int64
	overlay    *os.File
	writerDone bool
	// aborted: this process goes away; the next one begins again.
	aborted  bool
	ended    bool
	err      error
	acked    int64
	complete bool
	// recorded: that it is complete is.
	recorded bool
	// released: the runner has recorded the result, so the files may go once the store holds the log.
	released, removed bool
	// sent and endSent belong to the current stream.
	sent    int64
	endSent bool
}

func openStep(number uint32, path string, masks *Masks, debug bool, acked int64, changed func()) (*Step, error) {
	raw, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("logs: open the output of step %d: %w", number, err)
	}
	s := &Step{
		number: number, path: path, raw: raw, changed: changed, wake: make(chan struct{}, 1), drained: make(chan struct{}),
		hash: sha256.New(), kinds: map[string]int{}, plainUntil: -1, acked: acked, sent: acked,
	}
	s.filter = NewFilter(masks, debug, s.onCommand)
	return s, nil
}

func (s *Step) onCommand(c commands.Command) {
	if c.Refused() != "" {
		if s.kinds["refused"]++; s.kinds["refused"] <= maxAnnotations {
			s.result.Commands = append(s.result.Commands, c)
		}
		return
	}
	switch c.Name {
	case "error", "warning", "notice":
		if s.kinds[c.Name]++; s.kinds[c.Name] > maxAnnotations {
			return
		}
	case "add-mask":
	case "set-output", "save-state":
		s.values++
		s.valueBytes += len(c.Value) + len(c.Properties["name"])
		if s.values > maxValues || s.valueBytes > maxValueBytes {
			s.result.Dropped = true
			return
		}
	default:
		return
	}
	s.result.Commands = append(s.result.Commands, c)
}

// scan filters the raw file until its writer is done and its end is reached.
func (s *Step) scan(w FileWatcher) {
	defer close(s.drained)
	grown, stop := w.Watch(s.path)
	defer stop()
	buf := pool.Get().(*buffers)
	defer pool.Put(buf)
	in, out := buf.in, buf.out
	for {
		// Asked before the read: only an end of file seen after the writer was done is the end.
		done, aborted := s.flags()
		if aborted {
			s.finish(ErrStopping)
			return
		}
		n, err := s.raw.Read(in)
		if n > 0 {
			if err := s.emit(s.filter.Write(out[:0], in[:n])); err != nil {
				s.finish(err)
				return
			}
			continue
		}
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			s.finish(fmt.Errorf("logs: read the output of step %d: %w", s.number, err))
			return
		case done:
			s.finish(s.emit(s.filter.Close(out[:0])))
			return
		}
		select {
		case <-grown:
		case <-s.wake:
		}
	}
}

func (s *Step) flags() (writerDone, aborted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writerDone, s.aborted
}

func (s *Step) abort() {
	s.mu.Lock()
	s.aborted = true
	s.mu.Unlock()
	notify(s.wake)
}

// emit makes log bytes available to the pusher.
func (s *Step) emit(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	s.hash.Write(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.plainUntil < 0 && s.filter.Changed() {
		f, err := os.OpenFile(s.overlayPath(), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return fmt.Errorf("logs: make the masked log of step %d: %w", s.number, err)
		}
		s.overlay, s.plainUntil = f, s.length
	}
	if s.overlay != nil {
		if _, err := s.overlay.Write(p); err != nil {
			return fmt.Errorf("logs: write the masked log of step %d: %w", s.number, err)
		}
	}
	s.length += int64(len(p))
	s.changed()
	return nil
}

func (s *Step) overlayPath() string { return s.path + ".masked" }

func (s *Step) finish(err error) {
	s.result.Length, s.result.SHA256, s.result.Hidden = s.length, hex.EncodeToString(s.hash.Sum(nil)), s.filter.Full()
	// The masks are large, and a finished step may wait long for its coordinator.
	s.filter = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended, s.err = !errors.Is(err, ErrStopping), err
	s.changed()
}

// End says that nobody writes the raw file any more, waits until it is filtered to its end, and returns what it came to.
// It does not wait for the coordinator. It may be called again.
func (s *Step) End() (Result, error) {
	s.mu.Lock()
	s.writerDone = true
	s.mu.Unlock()
	notify(s.wake)
	<-s.drained
	return s.result, s.err
}

// chunk returns the next bytes to send, read into buf. ok is false when there is nothing to send now.
func (s *Step) chunk(buf []byte) (offset int64, data []byte, end, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(int64(len(buf)), s.length-s.sent)
	if s.complete || n < 0 || (n == 0 && (!s.finalLocked() || s.endSent)) {
		return 0, nil, false, false, nil
	}
	src, at := s.raw, s.sent
	switch {
	case s.plainUntil < 0:
	case s.sent >= s.plainUntil:
		src, at = s.overlay, s.sent-s.plainUntil
	default:
		n = min(n, s.plainUntil-s.sent)
	}
	if n > 0 {
		if _, err := src.ReadAt(buf[:n], at); err != nil {
			return 0, nil, false, false, fmt.Errorf("logs: read the log of step %d at %d: %w", s.number, at, err)
		}
	}
	offset = s.sent
	s.sent += n
	s.endSent = s.finalLocked() && s.sent == s.length
	return offset, buf[:n], s.endSent, true, nil
}

// goBack accepts that the store holds only [0, offset).
func (s *Step) goBack(offset int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked = min(s.acked, offset)
}

// restart begins again at what is acknowledged: the stream that carried the rest is gone.
func (s *Step) restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent, s.endSent = s.acked, false
}

// ack notes that the store holds [0, offset), and says whether that is news and whether the log is complete there.
func (s *Step) ack(offset int64) (news, complete bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.complete {
		return false, true
	}
	news = offset > s.acked
	s.acked = max(s.acked, offset)
	// A store that already holds more than this stream sent (a lost ack) need not be sent it again.
	s.sent = max(s.sent, min(s.acked, s.length))
	if s.endSent && s.acked >= s.length {
		s.complete = true
		news = true
	}
	return news, s.complete
}

// remove deletes the files of a complete log, once that it is complete is recorded: a restarted agent would take a missing file for a log
// without a byte.
func (s *Step) remove() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recorded = true
	s.removeLocked()
}

// Release says that what End returned is recorded. Before, a restarted agent would need the raw file to learn it again;
// now the file is deleted as soon as the store holds the log, and the store is told that the log ends here.
func (s *Step) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.released = true
	s.removeLocked()
	s.changed()
}

// finalLocked says that no byte will follow, in no process: until the step's end is recorded, a restarted agent might run
// a native step again, and its lines would come after an end that the store already knows.
func (s *Step) finalLocked() bool { return s.ended && s.released }

// completeEmpty says whether nothing was said and nothing will be, and then is through with the log.
func (s *Step) completeEmpty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.finalLocked() || s.length > 0 {
		return false
	}
	s.complete, s.recorded = true, true
	s.removeLocked()
	return true
}

func (s *Step) removeLocked() {
	if !s.released || !s.recorded || s.removed {
		return
	}
	s.removed = true
	s.closeLocked()
	_ = os.Remove(s.path)
	_ = os.Remove(s.overlayPath())
}

// gone says whether nothing of the log is left on this host.
func (s *Step) gone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.removed
}

func (s *Step) closeLocked() {
	s.raw.Close()
	if s.overlay != nil {
		s.overlay.Close()
	}
}
