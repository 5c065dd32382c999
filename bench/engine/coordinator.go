// Package engine measures the coordinator alone: real certificates, sessions and records, agents that are simulated in a process of their own.
package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/bench/fleet"
	"github.com/slipway-ci/slipway/coordinator/config"
	control "github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/server"
	"github.com/slipway-ci/slipway/internal/id"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
	"github.com/slipway-ci/slipway/sdk/client"
)

// workflow of every run: one job of one step.
const workflow = `
on: push
jobs:
  only:
    runs-on: bench
    steps:
      - run: "true"
`

// coordinator is a whole one in this process, on a directory of its own.
type coordinator struct {
	dir    string
	conf   config.Config
	log    *os.File
	ids    *id.Source
	srv    *server.Server
	stop   context.CancelFunc
	ended  chan error
	client *client.Client
	plan   *planv1.Plan
	digest string
}

// newCoordinator starts one. It logs as one in production does, to a file.
func newCoordinator(ctx context.Context) (*coordinator, error) {
	// Not in a deep directory: the embedded store has a unix socket in it.
	dir, err := os.MkdirTemp("", "slw")
	if err != nil {
		return nil, err
	}
	c := &coordinator{dir: dir, conf: config.Default(), ids: id.NewSource(time.Now)}
	c.conf.DataDir, c.conf.Listen, c.conf.Metrics = dir, "127.0.0.1:0", ""
	// What is measured is the way to the end of a run, not what follows it.
	c.conf.Retention.SealAfter = config.Duration(time.Hour)
	c.conf.Runners = map[string]config.Runner{"bench": {Image: config.NoImage, Pool: config.DefaultPool}}
	if c.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := c.up(ctx); err != nil {
		return nil, errors.Join(err, c.close())
	}
	if err := c.prepare(ctx); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *coordinator) up(ctx context.Context) error {
	srv, err := server.New(c.conf, slog.New(slog.NewTextHandler(c.log, nil)))
	if err != nil {
		return err
	}
	c.conf.Listen = srv.Addr() // the same one after a restart
	ctx, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	c.srv, c.ended = srv, make(chan error, 1)
	go func() { c.ended <- srv.Run(ctx) }()
	select {
	case <-srv.Ready():
		return nil
	case err := <-c.ended:
		c.ended <- err
		return fmt.Errorf("the coordinator did not start: %w", err)
	}
}

func (c *coordinator) down() error {
	if c.stop == nil {
		return nil
	}
	c.stop()
	c.stop = nil
	return <-c.ended
}

func (c *coordinator) close() error {
	if c.client != nil {
		_ = c.client.Close()
	}
	return errors.Join(c.down(), c.log.Close(), os.RemoveAll(c.dir))
}

// prepare compiles the workflow as a submit does, and stores its plan.
func (c *coordinator) prepare(ctx context.Context) error {
	token, err := os.ReadFile(filepath.Join(c.dir, server.AdminTokenFile))
	if err != nil {
		return err
	}
	if c.client, err = client.New(client.Config{Address: c.srv.Addr(), Token: strings.TrimSpace(string(token))}); err != nil {
		return err
	}
	res, err := c.client.Plan(ctx, &apiv1.PlanRunRequest{Project: "bench", Path: "bench.yml", Workflow: []byte(workflow)})
	if err != nil {
		return err
	}
	c.plan = res.GetPlan()
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(c.plan)
	if err != nil {
		return err
	}
	c.digest, _, err = c.client.Upload(ctx, bytes.NewReader(data))
	return err
}

// fleet starts agents in a process of their own.
func (c *coordinator) fleet(ctx context.Context, agents, slots int) (*fleet.Process, error) {
	token, err := c.client.CreateJoinToken(ctx, client.JoinToken{Pool: config.DefaultPool, Uses: uint32(agents)})
	if err != nil {
		return nil, err
	}
	return fleet.Run(ctx, fleet.Config{Address: c.srv.Addr(), Token: token.Secret, Agents: agents, Slots: slots})
}

// submit creates a run as SubmitRun does once the file is compiled.
func (c *coordinator) submit(ctx context.Context, project string) error {
	_, _, err := c.srv.Control().Submit(ctx, control.Submission{RequestID: c.ids.New(), Project: project, Plan: c.plan, PlanDigest: c.digest,
		Event: "push", EventPayload: fleet.Payload(time.Now()), Actor: "bench"})
	return err
}
