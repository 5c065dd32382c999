package scenarios

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/e2e/cluster"
)

// slots is how many jobs the cluster's agent takes at once.
const slots = 4

// sys is the one Slipway of all scenarios. Those that kill its processes run one after the other; the others share it.
var sys *cluster.Cluster

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "scenarios:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if why := missing(); why != nil {
		fmt.Fprintf(os.Stderr, "\n*** SKIPPED: all scenarios against a whole Slipway: %v\n\n", why)
		return 0, nil
	}
	if !given("test.parallel") {
		// Jobs mostly wait for containers, so more of them than there are processors.
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
	if code != 0 {
		sayLogs(os.Stderr)
	}
	leaks := sys.Leaks()
	err = leaks.OfJobs()
	// The clean-up of a whole Slipway must not depend on there being nothing to do.
	err = errors.Join(err, leaveRunning())
	return code, errors.Join(err, sys.Close(), leaks.OfAll())
}

// leaveRunning starts a job with a service that does not end, and returns when its step runs.
func leaveRunning() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dir := filepath.Join(sys.Dir, "left")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	file := oneJob(`
services:
  db: {image: 'postgres:15-alpine', env: {POSTGRES_PASSWORD: secret}}
steps: [{run: "(setsid sleep 1000 &); echo waiting; sleep 1000", shell: sh}]
`)
	if err := os.WriteFile(filepath.Join(dir, "ci.yml"), []byte(file), 0o600); err != nil {
		return err
	}
	res, err := sys.Slipway(ctx, dir, "run", "-d", "ci.yml")
	if err != nil || res.Code != succeeded {
		return fmt.Errorf("starting a run to be left: %w: %s", err, res.Stderr)
	}
	out := newLines()
	cmd := sys.Command(ctx, dir, "logs", "-f", strings.TrimSpace(res.Stdout))
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		return err
	}
	_, seen := out.await("a | waiting", patience)
	if err := cmd.Process.Kill(); err != nil {
		return err
	}
	if err := cmd.Wait(); !seen {
		return fmt.Errorf("the run to be left does not begin: %w: %s", err, out)
	}
	return nil
}

// missing says why the scenarios can't run here; nil if they can.
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
