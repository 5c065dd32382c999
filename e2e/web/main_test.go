package web

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/e2e/cluster"
)

// sys is the Slipway that the browser looks at; gate is a directory of the host that its jobs see as /gate.
var (
	sys  *cluster.Cluster
	gate string
)

// chromium is Debian's; `make setup` installs it.
const chromium = "chromium"

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "web:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if why := missing(); why != nil {
		fmt.Fprintf(os.Stderr, "\n*** SKIPPED: the pages in a browser: %v\n\n", why)
		return 0, nil
	}
	if gate, err = os.MkdirTemp("/tmp", "slwgate"); err != nil {
		return 1, err
	}
	defer os.RemoveAll(gate)
	if err := os.Chmod(gate, 0o755); err != nil { //nolint:gosec // jobs look into it
		return 1, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	sys, err = cluster.Start(ctx, cluster.Options{Slots: 4, Policies: map[string]string{"default": fmt.Sprintf("{host_paths: [%q]}", gate)}})
	if err != nil {
		return 1, err
	}
	code = m.Run()
	if code != 0 {
		text, _ := os.ReadFile(sys.Dir + "/state/slipway/coordinator.log")
		fmt.Fprintf(os.Stderr, "---- the end of coordinator.log\n%s\n", text[max(0, len(text)-4096):])
	}
	leaks := sys.Leaks()
	return code, errors.Join(leaks.OfJobs(), sys.Close(), leaks.OfAll())
}

func missing() error {
	if testing.Short() {
		return errors.New("-short is given")
	}
	if err := cluster.Usable(); err != nil {
		return err
	}
	if _, err := exec.LookPath(chromium); err != nil {
		if os.Getenv("SLIPWAY_TEST_ALL") != "" {
			fmt.Fprintln(os.Stderr, "SLIPWAY_TEST_ALL forbids to skip these tests:", err)
			os.Exit(1)
		}
		return fmt.Errorf("%w (`make setup` installs it)", err)
	}
	return nil
}

// open lets the jobs on that wait for the gate of this name. It is closed again with the test's end.
func open(t *testing.T, name string) {
	t.Helper()
	path := filepath.Join(gate, name)
	if err := os.WriteFile(path, nil, 0o644); err != nil { //nolint:gosec // jobs look for it
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(path) })
}
