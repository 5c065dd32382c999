package metricsdoc_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/slipway-ci/slipway/internal/metricsdoc"
)

func TestCompare(t *testing.T) {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(),
		prometheus.NewCounter(prometheus.CounterOpts{Name: "a_total", Help: `says "this", {and} that`}),
		prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "b", Help: "b", ConstLabels: prometheus.Labels{"version": "1"}}, []string{"state", "pool"}),
		prometheus.NewGauge(prometheus.GaugeOpts{Name: "c", Help: "c"}))
	file := filepath.Join(t.TempDir(), "metrics.md")
	for _, tt := range []struct {
		doc  string
		want []string
	}{
		{"# M\n\n## One\n\n| `a_total` | counter | | x |\n| `b` | gauge | `state`, `pool`, `version` | y |\n| `c` | gauge | | z |\n\n## Two\n\n| `d` | gauge | | not ours |\n", nil},
		{"## One\n\n| `a_total` | counter | | x |\n| `b` | gauge | `state` | y |\n| `d` | gauge | | z |\n", []string{
			`b has the labels "pool state version", documented are "state"`, `c is registered, but not under "## One"`, `d is documented under "## One", but not registered`}},
	} {
		if err := os.WriteFile(file, []byte(tt.doc), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := metricsdoc.Compare(r, file, "## One")
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%q, %v; want %q", got, err, tt.want)
		}
	}
	if _, err := metricsdoc.Compare(r, file, "## Three"); err == nil {
		t.Error("a heading that is not there is no error")
	}
}
