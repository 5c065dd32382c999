package agent

import (
	"log/slog"
	"testing"

	"github.com/slipway-ci/slipway/internal/metricsdoc"
)

func TestMetricsAreDocumented(t *testing.T) {
	a, err := New(Config{Address: "127.0.0.1:1", DataDir: t.TempDir(), Hostname: "test"}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	newMetrics().register(a)
	found, err := metricsdoc.Compare(a.registry, "../docs/metrics.md", "## Agent")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Error(f)
	}
	if len(a.tracing()) != 0 || a.deps.Tracer != nil {
		t.Error("calls pay for traces that nobody asked for")
	}
}
