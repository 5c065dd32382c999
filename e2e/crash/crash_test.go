package crash

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/sdk/client"
)

// moment is when a coordinator is killed.
type moment struct {
	seed uint64
	// starting: counted from its start, not from when it leads.
	starting bool
	after    time.Duration
}

// One of so many kills meets a coordinator that starts.
const startingOneOf = 5

const (
	// startWithin and workWithin are about as long as a start and a good piece of work take.
	startWithin = 800 * time.Millisecond
	workWithin  = 1500 * time.Millisecond
)

func newMoment(seed uint64) moment {
	r := rand.New(rand.NewPCG(seed, 0xdead)) //nolint:gosec // a replayable choice, no secret
	m := moment{seed: seed, starting: r.IntN(startingOneOf) == 0}
	within := workWithin
	if m.starting {
		within = startWithin
	}
	m.after = time.Duration(r.Int64N(int64(within)))
	return m
}

func (m moment) String() string {
	from := "it leads"
	if m.starting {
		from = "its start"
	}
	return fmt.Sprintf("seed %d: kill %v after %s", m.seed, m.after.Round(time.Millisecond), from)
}

// TestKillsOfTheCoordinatorLoseNothingAndDoubleNothing is one load, and a kill for each seed.
func TestKillsOfTheCoordinatorLoseNothingAndDoubleNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("-short is given: no coordinator is killed")
	}
	s := newSystem(t)
	coordinator := s.start("coordinator")
	stop := func() {
		if coordinator != nil {
			_ = coordinator.kill(syscall.SIGTERM)
			coordinator = nil
		}
	}
	defer stop()
	await(t, coordinator)
	c := newClient(t, s)
	token, err := c.CreateJoinToken(t.Context(), client.JoinToken{Pool: config.DefaultPool, Uses: agents})
	if err != nil {
		t.Fatal(err)
	}
	hosts := s.start("agents", tokenEnv+"="+token.Secret)
	defer func() { _ = hosts.kill(syscall.SIGTERM) }()
	await(t, hosts)
	l := startLoad(t.Context(), t, c)
	begun, working := time.Now(), 0
	for n := range *kills {
		m := newMoment(*seed + uint64(n))
		if testing.Verbose() {
			t.Log(m)
		}
		if !m.starting {
			await(t, coordinator)
			working++
		}
		time.Sleep(m.after) // the moment itself: nothing is waited for
		if err := coordinator.kill(os.Kill); err != nil {
			t.Errorf("%s: %v", m, err)
			break
		}
		coordinator = s.start("coordinator")
		if t.Failed() {
			break
		}
	}
	await(t, coordinator)
	l.end()
	l.whole(t.Context(), s.dir)
	t.Logf("seeds %d to %d: %d kills, %d while it led; %d runs, %d submits repeated", *seed, *seed+uint64(*kills)-1, *kills, working, len(l.runs), l.repeats)
	if len(l.runs) == 0 {
		t.Error("no run was submitted")
	}
	row := fmt.Sprintf("| %s | %d–%d | %d | %d | %d | %d | %t | %s |\n", *commit, *seed, *seed+uint64(*kills)-1, *kills, working, len(l.runs), l.repeats, !t.Failed(),
		time.Since(begun).Round(time.Second))
	if err := record(*ledger, row); err != nil {
		t.Error(err)
	}
}

// record appends a row; no path is no ledger.
func record(path, row string) error {
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0) // #nosec G304 -- named on the command line
	if err != nil {
		return err
	}
	_, err = f.WriteString(row)
	return errors.Join(err, f.Close())
}

func await(t *testing.T, p *process) {
	t.Helper()
	select {
	case <-p.ready:
	case err := <-p.ended:
		t.Fatalf("a process ended before it was ready: %v", err)
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}
