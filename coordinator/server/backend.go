package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/leader"
	"github.com/slipway-ci/slipway/coordinator/leader/etcdleader"
	"github.com/slipway-ci/slipway/coordinator/maintain"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/coordinator/store/etcdstore"
	"github.com/slipway-ci/slipway/coordinator/store/memstore"
	"github.com/slipway-ci/slipway/internal/clock"
)

const (
	electionPrefix = "/slipway/v1/leader/"
	startPatience  = time.Minute
	// exclusiveTTL of the lease of a leader that can have no rival.
	exclusiveTTL = 20 * time.Second
)

// backend is the store and the election in it.
type backend struct {
	store   store.Store
	elector leader.Elector
	// database is what there is to maintain; nil if nothing is.
	database maintain.Database
	// external: the store is an etcd of others.
	external bool
	// failed delivers the store's fatal error; nil if it can't have one.
	failed <-chan error
	close  func() error
}

func openBackend(ctx context.Context, conf config.Config, c clock.Clock, name string, log *slog.Logger) (*backend, error) {
	if conf.Store.Kind == config.StoreMemory {
		m := memstore.New()
		return &backend{store: m, elector: &leader.Single{Store: m, Key: electionPrefix + "single", Name: name}, close: m.Close}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if conf.Store.Kind == config.StoreExternal {
		return openExternal(ctx, conf.Store.External, c, name, log)
	}
	e, err := etcdstore.Start(ctx, etcdstore.EmbedConfig{Dir: filepath.Join(conf.DataDir, "etcd"), Log: log})
	if err != nil {
		return nil, fmt.Errorf("starting the store: %w", err)
	}
	// Nobody waits to lead in its place, and a starved host is not a dead one: the fence alone would do.
	elector := etcdleader.New(etcdleader.Config{Client: e.Client(), Prefix: electionPrefix, Name: name, TTL: exclusiveTTL, Exclusive: true, Clock: c, Log: log})
	return &backend{store: e.Store(), elector: elector, database: e.Database(), failed: e.Err(), close: e.Close}, nil
}

// watch returns the store's fatal error, or nil when ctx ends.
func (b *backend) watch(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-b.failed:
		if err == nil {
			err = errors.New("it has stopped")
		}
		return err
	}
}
