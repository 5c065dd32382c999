// Package fleet is many simulated agents in one process. Each has a certificate, a connection and a session of its own, speaks fleet/v1 as
// an agent does, and takes whatever it is offered: it accepts, reports that its only step runs, waits until that is committed, and reports success.
package fleet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/slipway-ci/slipway/internal/tlsutil"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// Config of a fleet.
type Config struct {
	// Address of the coordinator; Token joins all agents, and its pin recognises the coordinator.
	Address, Token string
	// Agents, and how many jobs each of them takes at once.
	Agents, Slots int
}

// Fleet is agents with sessions.
type Fleet struct {
	c     Config
	stats *stats
	wg    sync.WaitGroup
	stop  context.CancelFunc

	mu  sync.Mutex
	err error
}

// connecting is how many agents connect at one time: more would starve those that are there, on a host that is busy.
const connecting = 32

// Start joins the agents and returns when all of them have been welcomed.
func Start(ctx context.Context, c Config) (*Fleet, error) {
	pairs, ca, err := join(ctx, c)
	if err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	f := &Fleet{c: c, stats: newStats(), stop: stop}
	welcomed, turns := make(chan error, 16), make(chan struct{}, connecting)
	go func() {
		for i := range pairs {
			select {
			case turns <- struct{}{}:
			case <-life.Done():
				return
			}
			f.wg.Add(1)
			go func() {
				defer f.wg.Done()
				a := &agent{f: f, name: fmt.Sprintf("bench-%05d", i), pair: &pairs[i], ca: ca}
				f.failed(a.run(life, welcomed))
			}()
			if i%10 == 9 {
				// As a real fleet does, they do not come all at once.
				select {
				case <-time.After(50 * time.Millisecond):
				case <-life.Done():
					return
				}
			}
		}
	}()
	for range pairs {
		select {
		case err := <-welcomed:
			<-turns
			if err != nil {
				f.Close()
				return nil, err
			}
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		}
	}
	return f, nil
}

// Stats returns what was done since the last call.
func (f *Fleet) Stats() Stats {
	s := f.stats.take()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		s.Error = f.err.Error()
	}
	return s
}

// Finished is how many jobs have been finished, with an acknowledgement, since the start.
func (f *Fleet) Finished() int64 { return f.stats.finished.Load() }

// Close ends the sessions and waits.
func (f *Fleet) Close() {
	f.stop()
	f.wg.Wait()
}

func (f *Fleet) failed(err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

// join gets a certificate for every agent, over one connection, one after the other: the uses of a token are counted in one record.
func join(ctx context.Context, c Config) ([]tls.Certificate, []byte, error) {
	pin, ok := tlsutil.TokenPin(c.Token)
	if !ok {
		return nil, nil, errors.New("fleet: the join token pins no coordinator")
	}
	conn, err := grpc.NewClient(c.Address, grpc.WithTransportCredentials(credentials.NewTLS(tlsutil.PinnedTLS(c.Address, pin, nil))))
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = conn.Close() }()
	joins := fleetv1.NewJoinServiceClient(conn)
	pairs, ca := make([]tls.Certificate, c.Agents), []byte(nil)
	for i := range pairs {
		key, csr, err := tlsutil.NewKeyAndCSR("bench")
		if err != nil {
			return nil, nil, err
		}
		res, err := joins.Join(ctx, &fleetv1.JoinRequest{Token: c.Token, Csr: csr, Hostname: "bench"})
		if err != nil {
			return nil, nil, fmt.Errorf("fleet: joining agent %d: %w", i, err)
		}
		pair, err := tlsutil.KeyPair(res.GetCertificate(), key)
		if err != nil {
			return nil, nil, err
		}
		pairs[i], ca = *pair, res.GetCa()
	}
	return pairs, ca, nil
}
