package server

import (
	"context"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/coordinator/artifacts"
	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/gateway"
	"github.com/slipway-ci/slipway/coordinator/leader"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// Another leader comes and goes: the server finds itself fenced at its next write, and leads again.
func TestLeadsAgainAfterBeingFenced(t *testing.T) {
	conf := config.Default()
	conf.DataDir, conf.Listen, conf.Metrics, conf.Store.Kind = t.TempDir(), "127.0.0.1:0", "", config.StoreMemory
	s, err := New(conf, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.release(); err != nil {
			t.Error(err)
		}
	}()
	be, err := openBackend(t.Context(), conf, s.clock, "us", s.log)
	if err != nil {
		t.Fatal(err)
	}
	gw := gateway.New(gateway.Deps{Control: s.control, Blobs: s.blobs, Logs: s.logs, Artifacts: artifacts.New(s.control, s.blobs), Agents: conf.Agents, Clock: s.clock, Log: s.log})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	led := make(chan error, 1)
	go func() { led <- s.lead(ctx, be, gw) }()
	defer func() {
		cancel()
		if err := <-led; err != nil {
			t.Error(err)
		}
	}()
	<-s.Ready()
	first, err := s.control.get()
	if err != nil {
		t.Fatal(err)
	}
	sub := engine.Submission{RequestID: s.ids.New(), Project: "p", PlanDigest: "sha256:none",
		Plan: &planv1.Plan{Schema: 1, Jobs: []*planv1.Job{{Id: "a", Condition: "false"}}}}
	if _, err := be.elector.(*leader.Single).Campaign(ctx); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.control.Submit(ctx, sub); rpcerr.ReasonOf(err) != rpcerr.NotLeader {
		t.Fatalf("a fenced leader answers %v", err)
	}
	for {
		if e, err := s.control.get(); err == nil && e != first {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatal("never led again")
		default:
			runtime.Gosched()
		}
	}
	if _, n, err := s.control.Submit(ctx, sub); err != nil || n != 1 {
		t.Fatalf("%d %v", n, err)
	}
}
