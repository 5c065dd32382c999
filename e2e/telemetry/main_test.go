// Package telemetry tests what a whole Slipway tells about itself: traces, at a collector that the tests are, and metrics.
package telemetry

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/e2e/cluster"
)

// patience bounds everything that a test waits for.
const patience = 90 * time.Second

var (
	sys *cluster.Cluster
	col *collector
)

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "telemetry:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if why := missing(); why != nil {
		fmt.Fprintf(os.Stderr, "\n*** SKIPPED: all tests of telemetry against a whole Slipway: %v\n\n", why)
		return 0, nil
	}
	if col, err = startCollector(); err != nil {
		return 1, err
	}
	defer col.server.Stop()
	// `slipway dev` takes them over from here, and its processes from it. The short delay is for kill -9: a killed process loses what it
	// has not sent yet.
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + col.addr, "OTEL_BSP_SCHEDULE_DELAY": "50", "TRACEPARENT": "",
		"OTEL_TRACES_SAMPLER": "", "OTEL_SERVICE_NAME": "", "OTEL_SDK_DISABLED": "", "OTEL_TRACES_EXPORTER": "", "OTEL_EXPORTER_OTLP_PROTOCOL": "",
	} {
		if err := os.Setenv(name, value); err != nil {
			return 1, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if sys, err = cluster.Start(ctx, cluster.Options{Slots: 4}); err != nil {
		return 1, err
	}
	code = m.Run()
	// An orderly stop sends what is left.
	err = sys.Close()
	if doubled := col.doubled(); len(doubled) > 0 {
		err = errors.Join(err, fmt.Errorf("%d spans arrived more than once:\n%s", len(doubled), strings.Join(doubled, "\n")))
	}
	return code, err
}

// missing says why the tests can't run here; nil if they can.
func missing() error {
	if testing.Short() {
		return errors.New("-short is given")
	}
	return cluster.Usable()
}
