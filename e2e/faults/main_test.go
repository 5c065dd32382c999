package faults

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/e2e/cluster"
)

var (
	seedRange = flag.String("seeds", "1:2", "first and last seed")
	ledger    = flag.String("ledger", "", "file that a line about this range is appended to")
)

// slots is how many of a wave's jobs run at once.
const slots = 4

// sys is the one Slipway of all seeds: what one of them breaks, the next would see.
var sys *cluster.Cluster

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if why := missing(); why != nil {
		fmt.Fprintf(os.Stderr, "\n*** SKIPPED: kills against a whole Slipway: %v\n\n", why)
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	sys, err = cluster.Start(ctx, cluster.Options{Slots: slots})
	if err != nil {
		return 1, err
	}
	code = m.Run()
	return code, errors.Join(err, sys.Close())
}

func missing() error {
	if testing.Short() {
		return errors.New("-short is given")
	}
	return cluster.Usable()
}
