package logs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
)

// file is one log. Its descriptor is open only while somebody writes.
type file struct {
	dir  string
	step uint32

	mu      sync.Mutex
	size    int64
	durable int64
	end     int64 // final length, -1 before the end was pushed
	noted   bool  // the end is in its file
	settled bool  // its name is on disk
	sum     hash.Hash
	sumSize int64 // bytes that sum has seen; less than size after a restart
	damaged bool
	w       *os.File
	writers int
	broken  error         // a write or sync failed: nothing more can be trusted in this process
	syncing chan struct{} // closed when the sync in flight is over; nil if there is none
}

func newFile(dir string, step uint32) *file {
	return &file{dir: dir, step: step, end: -1, sum: sha256.New()}
}

func (f *file) path(suffix string) string {
	return filepath.Join(f.dir, strconv.FormatUint(uint64(f.step), 10)+suffix)
}

// loadFile reads back a log's state. What is on disk is not taken as durable before the next sync.
func loadFile(dir string, step uint32) (*file, error) {
	f := newFile(dir, step)
	info, err := os.Stat(f.path(".log"))
	if err != nil {
		return nil, err
	}
	f.size = info.Size()
	data, err := os.ReadFile(f.path(".end"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		// One that a crash of the host cut short is none: the final report says it again.
		if end, err := strconv.ParseInt(string(data), 10, 64); err == nil && end >= f.size {
			f.end, f.noted = end, true
		}
	}
	return f, nil
}

// acquire opens the log for writing; every acquire has its release.
func (f *file) acquire() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.w == nil {
		w, err := os.OpenFile(f.path(".log"), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return fmt.Errorf("opening a log: %w", err)
		}
		f.w = w
	}
	f.writers++
	return nil
}

func (f *file) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writers--
	if f.writers == 0 && f.syncing == nil {
		_ = f.w.Close() // synced bytes are safe; others were not acknowledged
		f.w = nil
	}
}

// append writes data at offset, skipping what is there already.
func (f *file) append(offset int64, data []byte, end bool) (grew bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil {
		return false, f.broken
	}
	last := offset + int64(len(data))
	switch {
	case offset < 0 || last < offset:
		return false, fmt.Errorf("logs: offset %d is out of range", offset)
	case offset > f.size:
		return false, &GapError{Offset: offset, Want: f.size}
	case f.end >= 0 && last > f.end:
		return false, fmt.Errorf("%w: bytes up to %d, but it has ended at %d", ErrEnded, last, f.end)
	case end && last < f.size:
		return false, fmt.Errorf("%w: an end at %d, but it has %d bytes already", ErrEnded, last, f.size)
	}
	if last > f.size {
		fresh := data[f.size-offset:]
		if n, err := f.w.WriteAt(fresh, f.size); err != nil {
			// Part of it may be there: it will be written again, at the same offset.
			return false, fmt.Errorf("writing a log, %d of %d bytes: %w", n, len(fresh), err)
		}
		if f.sumSize == f.size {
			f.sum.Write(fresh)
			f.sumSize = last
		}
		f.size = last
		grew = true
	}
	if end && f.end < 0 {
		f.end = last
		grew = true
	}
	return grew, nil
}

// sync makes everything appended so far durable and returns how much that is; settle makes the log's name durable, before its first
// bytes are. Calls share: all that arrive while a sync is in flight are served by the next one.
func (f *file) sync(settle func() error) (int64, error) {
	f.mu.Lock()
	want, wantEnd := f.size, f.end >= 0
	for f.broken == nil && (f.durable < want || wantEnd && !f.noted) {
		if wait := f.syncing; wait != nil {
			f.mu.Unlock()
			<-wait
			f.mu.Lock()
			continue
		}
		f.syncOnce(settle)
	}
	durable, err := f.durable, f.broken
	f.mu.Unlock()
	return durable, err
}

// syncOnce is called with mu held; it gives it up during the sync.
func (f *file) syncOnce(settle func() error) {
	done := make(chan struct{})
	f.syncing = done
	size, end, noted, w, settled := f.size, f.end, f.noted, f.w, f.settled
	fresh := size > f.durable
	f.mu.Unlock()
	var err error
	if fresh {
		err = w.Sync()
	}
	if err == nil && fresh && !settled {
		err = settle()
	}
	if err == nil && end >= 0 && !noted {
		// Not synced: it must outlive this process, not the host, after whose crash the attempt's final report says it again.
		err = os.WriteFile(f.path(".end"), []byte(strconv.FormatInt(end, 10)), 0o600)
	}
	f.mu.Lock()
	f.syncing = nil
	close(done)
	switch {
	case err != nil:
		// After a failed fsync the kernel may have dropped the pages and call the file clean: a later success would prove nothing.
		f.broken = fmt.Errorf("making a log durable: %w", err)
	default:
		f.settled = f.settled || fresh
		f.durable = max(f.durable, size)
		f.noted = end >= 0
	}
	if f.writers == 0 && f.w != nil {
		_ = f.w.Close()
		f.w = nil
	}
}

// digest returns the SHA-256 of the log, reading what an earlier process wrote.
func (f *file) digest() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sumSize < f.size {
		r, err := os.Open(f.path(".log"))
		if err != nil {
			return "", err
		}
		n, err := io.Copy(f.sum, io.NewSectionReader(r, f.sumSize, f.size-f.sumSize))
		f.sumSize += n
		if err := errors.Join(err, r.Close()); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(f.sum.Sum(nil)), nil
}
