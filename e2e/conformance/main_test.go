package conformance

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/e2e/cluster"
)

// slots is how many jobs the cluster's agent takes at once, and how many cases run at the same time. More than there are
// processors: jobs mostly wait for containers.
const slots = 8

// sys is the one Slipway of all cases.
var sys *cluster.Cluster

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if noSystem = missing(); noSystem != nil {
		fmt.Fprintf(os.Stderr, "\n*** SKIPPED: the conformance cases against a whole Slipway: %v\n\n", noSystem)
		return m.Run(), nil
	}
	if *mutate {
		return m.Run(), nil // each mutant has a Slipway of its own
	}
	if !given("test.parallel") {
		if err := flag.Set("test.parallel", fmt.Sprint(slots)); err != nil {
			return 1, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	sys, err = cluster.Start(ctx, cluster.Options{Slots: slots, Pools: map[string]string{"elsewhere": "far-away"}})
	if err != nil {
		return 1, err
	}
	code = m.Run()
	if broken.Load() {
		sayLogs(os.Stderr)
	}
	return code, sys.Close()
}

// noSystem says why the cases can't run here; nil if they can. What needs no system is tested all the same.
var noSystem error

// broken: the system could not do something, as opposed to doing it in another way than expected.
var broken atomic.Bool

func missing() error {
	if testing.Short() {
		return errors.New("-short is given")
	}
	return cluster.Usable()
}

func given(name string) (found bool) {
	flag.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

// sayLogs shows the end of the processes' logs: after a failure there is nothing else left of them.
func sayLogs(w io.Writer) {
	for _, name := range []string{"dev", "coordinator", "agent"} {
		text, err := os.ReadFile(sys.Dir + "/state/slipway/" + name + ".log")
		if err != nil {
			continue
		}
		fmt.Fprintf(w, "---- the end of %s.log\n%s\n", name, text[max(0, len(text)-4096):])
	}
}
