package logs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// FileWatcher tells when files grow. Safe for concurrent use.
type FileWatcher interface {
	// Watch returns a channel that has a value whenever the file may have grown since the last receive. stop frees it.
	Watch(path string) (grown <-chan struct{}, stop func())
}

// Watcher is the FileWatcher of a host, by one inotify instance for the whole agent. Safe for concurrent use.
type Watcher struct {
	in   *os.File
	fd   int
	done chan struct{}

	mu   sync.Mutex
	subs map[int32]chan struct{}
}

// NewWatcher starts a watcher; Close ends it.
func NewWatcher() (*Watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("logs: inotify (is fs.inotify.max_user_instances exhausted?): %w", err)
	}
	w := &Watcher{in: os.NewFile(uintptr(fd), "inotify"), fd: fd, done: make(chan struct{}), subs: map[int32]chan struct{}{}}
	go w.loop()
	return w, nil
}

// Close ends every watch.
func (w *Watcher) Close() error {
	err := w.in.Close()
	<-w.done
	return err
}

// fallbackPoll is how often a file is looked at that inotify refuses to watch (fs.inotify.max_user_watches exhausted).
const fallbackPoll = 100 * time.Millisecond

// Watch implements FileWatcher.
func (w *Watcher) Watch(path string) (grown <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	wd, err := unix.InotifyAddWatch(w.fd, path, unix.IN_MODIFY)
	if err != nil {
		return c, pollInto(c)
	}
	w.subs[int32(wd)] = c
	return c, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.subs[int32(wd)] != c {
			return
		}
		delete(w.subs, int32(wd))
		// The kernel has dropped the watch already if the file is gone; then there is nothing to do.
		_, _ = unix.InotifyRmWatch(w.fd, uint32(wd))
	}
}

func pollInto(c chan struct{}) (stop func()) {
	t := time.NewTicker(fallbackPoll)
	quit := make(chan struct{})
	go func() {
		defer t.Stop()
		for {
			select {
			case <-t.C:
				notify(c)
			case <-quit:
				return
			}
		}
	}()
	return sync.OnceFunc(func() { close(quit) })
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (w *Watcher) loop() {
	defer close(w.done)
	buf := make([]byte, 64<<10)
	for {
		n, err := w.in.Read(buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		w.dispatch(buf[:n])
	}
}

func (w *Watcher) dispatch(events []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(events) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(events[0:4]))
		mask := binary.NativeEndian.Uint32(events[4:8])
		nameLen := binary.NativeEndian.Uint32(events[12:16])
		events = events[min(len(events), unix.SizeofInotifyEvent+int(nameLen)):]
		if mask&unix.IN_Q_OVERFLOW != 0 {
			for _, c := range w.subs {
				notify(c)
			}
			continue
		}
		if c, ok := w.subs[wd]; ok {
			notify(c)
		}
	}
}
