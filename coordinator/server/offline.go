package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/slipway-ci/slipway/coordinator/backup"
	"github.com/slipway-ci/slipway/coordinator/blob/disk"
	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/history"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/coordinator/store/etcdstore"
	"github.com/slipway-ci/slipway/internal/clock"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// ErrRunning: it can't be done while a coordinator uses the data directory.
var ErrRunning = errors.New("a coordinator is running on this data directory; stop it first")

// Files are a coordinator's data, for administrators on its host.
type Files struct {
	conf  config.Config
	log   *slog.Logger
	Store store.Store
	// Running: a coordinator uses them at this moment.
	Running bool
	close   func() error
}

// OpenFiles opens the data of a coordinator, running or not, with its configuration. Close them. While it is open no coordinator can start on it.
func OpenFiles(ctx context.Context, conf config.Config, log *slog.Logger) (*Files, error) {
	f := &Files{conf: conf, log: log}
	dir := filepath.Join(conf.DataDir, "etcd")
	switch conf.Store.Kind {
	case config.StoreMemory:
		return nil, errors.New("the store is in the coordinator's memory (store.kind: memory): nothing of it outlives the process")
	case config.StoreEtcd:
		client, err := etcdstore.Dial(ctx, dir)
		if err == nil {
			f.Store, f.Running, f.close = etcdstore.New(client.KV), true, client.Close
			return f, nil
		}
		if !errors.Is(err, etcdstore.ErrNotRunning) {
			return nil, err
		}
	}
	be, err := openBackend(ctx, conf, clock.Real{}, "admin", log)
	if err != nil {
		return nil, err
	}
	f.Store, f.close = be.store, be.close
	return f, nil
}

// Close closes them.
func (f *Files) Close() error { return f.close() }

func (f *Files) blobs() *disk.Store { return disk.Look(filepath.Join(f.conf.DataDir, "blobs")) }

// Check holds what is stored against itself. rebuild makes the index of finished runs again before. While a coordinator runs the index is its own,
// and only read.
func (f *Files) Check(ctx context.Context, quick, rebuild bool) (report backup.Report, err error) {
	path := filepath.Join(f.conf.DataDir, HistoryFile)
	target := backup.Target{Store: f.Store, Blobs: f.blobs(), Now: clock.Real{}.Now(), Quick: quick}
	if f.Running {
		if rebuild {
			return report, ErrRunning
		}
		return f.checkRunning(ctx, path, target)
	}
	if rebuild {
		if err := history.Remove(path); err != nil {
			return report, err
		}
	}
	if target.Index, err = history.Open(ctx, path, target.Blobs, f.log); err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, target.Index.Close()) }()
	// A coordinator would do this when it starts. What can't be read is among the findings.
	heads, err := f.heads(ctx)
	if err != nil {
		return report, err
	}
	if n, err := target.Index.Follow(ctx, heads); n > 0 || err != nil {
		f.log.Info("finished runs were added to the index", "runs", n, "error", err)
	}
	return backup.Check(ctx, target)
}

func (f *Files) checkRunning(ctx context.Context, path string, target backup.Target) (report backup.Report, err error) {
	index, damage := history.Look(ctx, path, target.Blobs, f.log)
	switch {
	case damage == nil:
		defer func() { err = errors.Join(err, index.Close()) }()
		target.Index = index
	case !errors.Is(damage, history.ErrDamaged):
		return report, damage
	}
	report, err = backup.Check(ctx, target)
	if damage != nil {
		report.Findings = append(report.Findings, backup.Finding{Where: "index", What: damage.Error(), Do: backup.DoRebuild})
	}
	return report, err
}

func (f *Files) heads(ctx context.Context) (map[string]*statev1.ChainHead, error) {
	chains, err := engine.Chains(ctx, f.Store)
	if err != nil {
		return nil, fmt.Errorf("reading the chains of finished runs: %w", err)
	}
	heads := map[string]*statev1.ChainHead{}
	for project, chain := range chains {
		heads[project] = chain.Head
	}
	return heads, nil
}

// Backup copies them into a sink. keys: with those of the certificate authority.
func (f *Files) Backup(ctx context.Context, to backup.Sink, keys bool) (backup.Manifest, error) {
	return backup.Write(ctx, backup.Source{Store: f.Store, DataDir: f.conf.DataDir, Keys: keys, Now: clock.Real{}.Now()}, to)
}

// Restore lays a backup out in the data directory of a configuration, which must be new or empty, as must be its store.
func Restore(ctx context.Context, conf config.Config, from string, log *slog.Logger) (m backup.Manifest, err error) {
	m, keys, err := backup.Unpack(ctx, from, conf.DataDir)
	if err != nil {
		return m, err
	}
	be, err := openBackend(ctx, conf, clock.Real{}, "admin", log)
	if err != nil {
		return m, err
	}
	n, err := backup.Load(ctx, be.store, keys)
	if err == nil && n != m.Keys {
		err = fmt.Errorf("restoring the store: %d of %d keys are there: %w", n, m.Keys, backup.ErrDamaged)
	}
	return m, errors.Join(err, be.close())
}
