package server

import (
	"log/slog"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/internal/metricsdoc"
)

func TestMetricsAreDocumented(t *testing.T) {
	conf := config.Default()
	conf.DataDir, conf.Listen, conf.Metrics = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0"
	s, err := New(conf, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.release(); err != nil {
			t.Error(err)
		}
	}()
	found, err := metricsdoc.Compare(s.registry, "../../docs/metrics.md", "## Coordinator")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Error(f)
	}
	if len(s.tracing()) != 0 || s.tracer() != nil {
		t.Error("calls pay for traces that nobody asked for")
	}
}
