package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-ci/slipway/bench/measure"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/coordinator/store/etcdstore"
)

// limits are what the machine allows, measured in this process in the same run.
type limits struct {
	// fsync of 4 KiB that were appended, in milliseconds.
	fsync measure.Samples
	// jobs a second whose records an embedded etcd can store, in groups as the committer makes them, if nobody does anything else.
	jobs float64
}

// The records of one run of one job as they are stored: what they weigh and which are written together.
const (
	headerBytes = 120
	jobBytes    = 300
	defBytes    = 350
	groupOfRaw  = 64
)

func measureLimits(ctx context.Context, took time.Duration) (limits, error) {
	dir, err := os.MkdirTemp("", "slw")
	if err != nil {
		return limits{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	l := limits{}
	if l.fsync, err = fsyncs(filepath.Join(dir, "file"), 500); err != nil {
		return limits{}, err
	}
	etcd, err := etcdstore.Start(ctx, etcdstore.EmbedConfig{Dir: filepath.Join(dir, "etcd"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return limits{}, err
	}
	l.jobs, err = rawJobs(ctx, etcd.Store(), took)
	return l, errors.Join(err, etcd.Close())
}

func fsyncs(path string, n int) (measure.Samples, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	var s measure.Samples
	for block := make([]byte, 4096); len(s) < n && err == nil; {
		begun := time.Now()
		if _, err = f.Write(block); err == nil {
			err = f.Sync()
		}
		s.Milliseconds(time.Since(begun))
	}
	return s, errors.Join(err, f.Close())
}

// rawJobs writes what a job's three transitions write, two transactions at a time, each of one transition of many jobs.
func rawJobs(ctx context.Context, s store.Store, took time.Duration) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*took)
	defer cancel()
	begun := time.Now()
	var jobs atomic.Int64
	var writers sync.WaitGroup
	errs := make([]error, 2)
	for w := range errs {
		writers.Go(func() {
			for n := 0; time.Since(begun) < took && errs[w] == nil; n += groupOfRaw {
				if errs[w] = rawGroup(ctx, s, w, n); errs[w] == nil {
					jobs.Add(groupOfRaw)
				}
			}
		})
	}
	writers.Wait()
	return float64(jobs.Load()) / time.Since(begun).Seconds(), errors.Join(errs...)
}

func rawGroup(ctx context.Context, s store.Store, writer, first int) error {
	var rev, created int64
	for transition := range 3 {
		var txn store.Txn
		for i := range groupOfRaw {
			txn.Branches = append(txn.Branches, rawTransition(transition, fmt.Sprintf("%d-%012d", writer, first+i), rev, created))
		}
		res, err := s.Commit(ctx, txn)
		if err != nil {
			return err
		}
		if rev = res.Revision; transition == 0 {
			created = rev
		}
	}
	return nil
}

// rawTransition is created and assigned, running or done; the job's record was last written at rev, the header's at headerRev.
func rawTransition(n int, job string, rev, headerRev int64) store.Branch {
	put := func(kind string, size int) store.Op {
		return store.Op{Key: "/raw/" + kind + "/" + job, Value: make([]byte, size)}
	}
	header, record := put("run", headerBytes), put("job", jobBytes)
	if n == 0 {
		b := store.Branch{Ops: []store.Op{header, record, put("def", defBytes), put("req", 50), put("newest", 10), put("num", 26), put("live", 0)}}
		b.Compares = []store.Compare{{Key: header.Key}, {Key: record.Key}, {Key: b.Ops[3].Key}, {Key: b.Ops[5].Key}}
		return b
	}
	b := store.Branch{Compares: []store.Compare{{Key: record.Key, Revision: rev}}, Ops: []store.Op{record}}
	if n == 2 {
		b.Compares = append(b.Compares, store.Compare{Key: header.Key, Revision: headerRev})
		b.Ops = append(b.Ops, header, store.Op{Key: "/raw/live/" + job, Delete: true})
	}
	return b
}
