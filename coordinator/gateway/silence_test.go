package gateway

import (
	"testing"
	"time"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/rpcerr"
)

// listen returns a silence with heartbeats every 2 s or, idle, 10 s, and a deadline of 10 s; over is set when it ends.
func listen(t *testing.T) (s *silence, c *clock.Fake, over *error) {
	t.Helper()
	c, over = clock.NewFake(time.UnixMilli(1_700_000_000_000)), new(error)
	s = newSilence(c, config.Agents{Heartbeat: config.Duration(2 * time.Second), IdleHeartbeat: config.Duration(10 * time.Second), Deadline: config.Duration(10 * time.Second)},
		func(err error) { *over = err })
	t.Cleanup(s.quiet)
	return s, c, over
}

func TestSilenceEndsAtTheDeadline(t *testing.T) {
	s, c, over := listen(t)
	c.Advance(9 * time.Second)
	s.heard()
	c.Advance(9 * time.Second)
	if *over != nil {
		t.Fatalf("9 s after something was heard: %v", *over)
	}
	c.Advance(time.Second)
	if rpcerr.ReasonOf(*over) != rpcerr.Busy {
		t.Fatalf("10 s after something was heard: %v", *over)
	}
}

func TestAnIdleAgentIsGivenWhatItPromised(t *testing.T) {
	s, c, over := listen(t)
	s.promised(10 * time.Second)
	c.Advance(17 * time.Second)
	s.heard()
	c.Advance(17 * time.Second)
	if *over != nil {
		t.Fatalf("17 s: %v", *over)
	}
	c.Advance(time.Second)
	if *over == nil {
		t.Fatal("it is not over after 18 s")
	}
}

func TestNobodyPromisesForEver(t *testing.T) {
	s, c, over := listen(t)
	s.promised(1000 * time.Hour)
	c.Advance(18 * time.Second)
	if *over == nil {
		t.Fatal("an agent was given more than the configuration gives")
	}
}

func TestAnOfferEndsThePromise(t *testing.T) {
	s, c, over := listen(t)
	s.promised(10 * time.Second)
	c.Advance(5 * time.Second)
	s.hurry()
	c.Advance(9 * time.Second)
	if *over != nil {
		t.Fatalf("9 s after the offer: %v", *over)
	}
	c.Advance(time.Second)
	if *over == nil {
		t.Fatal("10 s after the offer it is not over")
	}
}

func TestAnOfferPutsNothingOff(t *testing.T) {
	s, c, over := listen(t)
	c.Advance(9 * time.Second)
	s.hurry()
	c.Advance(time.Second)
	if *over == nil {
		t.Fatal("an offer was taken for a sign of life")
	}
}

func TestABusyAgentHasTheDeadlineAgain(t *testing.T) {
	s, c, over := listen(t)
	s.promised(10 * time.Second)
	c.Advance(time.Second)
	s.promised(0)
	c.Advance(10 * time.Second)
	if *over == nil {
		t.Fatal("the promise outlived a heartbeat without one")
	}
}

func TestQuietEndsNothing(t *testing.T) {
	s, c, over := listen(t)
	s.quiet()
	s.heard()
	s.promised(10 * time.Second)
	c.Advance(time.Hour)
	if *over != nil {
		t.Fatal(*over)
	}
}
