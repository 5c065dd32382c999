package archive_test

import (
	"errors"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/coordinator/archive"
	"github.com/slipway-ci/slipway/coordinator/logs"
)

// badLogs are unreadable in another way for each of three runs.
type badLogs struct {
	archive.Logs
	unlisted, unreadable, unmakable string
	attempt                         string // of the unreadable run
}

var errDisk = errors.New("input/output error")

func (l *badLogs) List(run string) ([]logs.Info, error) {
	infos, err := l.Logs.List(run)
	switch run {
	case l.unlisted:
		return nil, errDisk
	case l.unreadable:
		l.attempt = infos[0].Attempt
	case l.unmakable:
		infos[0].Job = "no UTF-8: \xff" // no bundle can be made of it, as of one that is too large
	}
	return infos, err
}

func (l *badLogs) ReadAt(attempt string, step uint32, p []byte, offset int64) (int, error) {
	if attempt == l.attempt {
		return 0, errDisk
	}
	return l.Logs.ReadAt(attempt, step, p, offset)
}

// What is wrong with one run keeps no other in the store, and is not tried all the time.
func TestARunThatCanNotBeSealedKeepsNoOther(t *testing.T) {
	r := newRig(t)
	bad := &badLogs{Logs: r.Logs}
	var ids []string
	for _, b := range []*string{&bad.unlisted, nil, &bad.unreadable, nil, &bad.unmakable, nil} {
		runID := r.finish("p", "", "a")
		ids = append(ids, runID)
		if b != nil {
			*b = runID
		}
	}
	conf := r.archiverConfig()
	conf.Logs = bad
	r.archiver = archive.New(conf)
	if err := r.archiver.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := r.seal(); n != len(ids) || r.check() != 3 {
		t.Fatalf("%d runs were looked at, %d sealed", n, r.check())
	}
	r.sees(ids)
	// One that comes later is sealed at once, and the pause of the others grows.
	ids = append(ids, r.finish("p", "", "a"))
	tries := 0
	for range 60 {
		r.clock.Advance(time.Minute)
		tries += r.sealDue()
	}
	if r.check() != 4 || tries < 4 || tries > 40 {
		t.Errorf("%d sealed, %d tries", r.check(), tries)
	}
	*bad = badLogs{Logs: r.Logs}
	r.clock.Advance(time.Hour)
	r.sealDue()
	if left := r.inStore(); len(left) > 0 || r.check() != 7 {
		t.Errorf("%d sealed, left in the store: %v", r.check(), left)
	}
	r.sees(ids)
}
